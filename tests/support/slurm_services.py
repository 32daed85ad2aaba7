"""What the clusters of a site share: munged and, where it has accounting, MariaDB and slurmdbd.

tests/slurm_cluster.py starts them; all of it is below the folder of the first cluster.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.support.slurm_conf import Site
from tests.support.slurm_daemons import ClusterError, Daemons


class Services:
    """Munged and the accounting of a site's clusters; `run` runs a command of Slurm.

    Attributes:
        is_changed: whether anybody has told it anything since it was started.
    """

    def __init__(self, home: Path, site: Site, daemons: Daemons, run: Callable[..., str]) -> None:
        self.home = home
        self._site = site
        self._daemons = daemons
        self._run = run
        self.is_changed = False
        self._database = home / "database"

    def start(self, *clusters: str) -> None:
        """Start all and wait until they answer; the accounting knows the clusters, and root on the account lab."""
        self._start_munge()
        if not self._site.accounting:
            return
        self._start_database()
        self.start_accounting()
        for words in (f"add cluster {' '.join(clusters)}", "add account lab", "add user root account=lab"):
            self.tell(words)
        self.is_changed = False

    def tell(self, words: str) -> None:
        """A change by sacctmgr, which nothing undoes."""
        self.is_changed = True
        self._run("sacctmgr", "-i", *shlex.split(words))

    def stop_accounting(self) -> None:
        """Stop slurmdbd; slurmctld keeps what it has to tell it until it is back."""
        self._daemons.terminate("slurmdbd")

    def start_accounting(self) -> None:
        """Start slurmdbd and wait until it answers."""
        self._daemons.start("slurmdbd", "slurmdbd", "-D")
        self._daemons.wait(self._has_answer, "slurmdbd answers", "slurmdbd")

    def _has_answer(self) -> bool:
        with suppress(subprocess.CalledProcessError):
            self._run("sacctmgr", "show", "cluster")
            return True
        return False

    def _start_munge(self) -> None:
        munge = self.home / "munge"
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
        options = [f"--{option}={munge / name}" for option, name in files.items()]
        self._daemons.start("munged", "munged", "--foreground", *options)
        self._daemons.wait((munge / "socket").exists, "munged listens", "munged")

    def _start_database(self) -> None:
        # Only root of this machine reaches the socket, so the database needs no password and no network.
        small = ("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--innodb-flush-log-at-trx-commit=0")
        # A folder for temporary tables of its own: a server that starts deletes all that it finds in the one that it has.
        temporary = self.home / "database-tmp"
        temporary.mkdir(exist_ok=True)
        options = ("--no-defaults", "--user=root", f"--datadir={self._database}", f"--tmpdir={temporary}", *small)
        tables = ("--skip-test-db", "--auth-root-authentication-method=normal")
        unsynced = _unsynced(self.home)
        try:
            self._run(*unsynced, "mariadb-install-db", *options, *tables)
        except subprocess.CalledProcessError as error:
            raise ClusterError(f"mariadb-install-db failed:\n{error.stdout}{error.stderr}") from error
        listen = (f"--socket={self._database}/socket", "--skip-networking")
        self._daemons.start("mariadbd", *unsynced, "mariadbd", *options, *listen)
        self._daemons.wait((self._database / "socket").exists, "the database listens", "mariadbd")


def _unsynced(folder: Path) -> tuple[str, ...]:
    """What to put before a command that is to sync nothing: a new database does so a thousand times, minutes on a slow disk."""
    compiler = shutil.which("cc")
    if compiler is None:
        return ()
    library = folder / "no_sync.so"
    source = Path(__file__).with_name("no_sync.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return ("env", f"LD_PRELOAD={library}")
