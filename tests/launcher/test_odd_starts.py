"""Commands that are started oddly: in a folder that is gone, with signals blocked or ignored, interrupted at any moment."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.launcher_runs import command, environment, launcher, run_of, status, wait_until, write_config
from tests.support.patience import PATIENCE
from tests.support.task_runs import done_rows

# Python cuts off what it keeps of a module that it compiles where a file may be no larger, and all later ones fail at that.
UNCOMPILED = "export PYTHONDONTWRITEBYTECODE=1"


def ended(
    folder: Path, words: Sequence[str], preexec_fn: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """A program that was started in this folder, has ended, and what it said."""
    return subprocess.run(
        words, cwd=folder, env=environment(), capture_output=True, text=True, check=False, preexec_fn=preexec_fn
    )


def test_a_working_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = ended(gone, ["sh", "-c", 'rmdir ../gone; exec "$@"', "sh", *command("status")])
    assert done.returncode == 2
    assert done.stderr == "launcher: the working directory is gone: cd to another one\n"


def _block_all() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())


def test_a_run_is_stopped_whatever_signals_its_starter_had_blocked(tmp_path: Path) -> None:
    config = write_config(tmp_path, rows=400, shards=2, params={"wait": 0.2})
    process = subprocess.Popen(
        command("run", config), cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, preexec_fn=_block_all
    )
    wait_until(lambda: done_rows(run_of(config)).count)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 130
    assert status(tmp_path, run_of(config))["state"] == "cancelled"


def _ignore_children() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def test_how_an_array_task_ended_is_known_where_the_starter_ignored_its_children(tmp_path: Path) -> None:
    config = write_config(tmp_path, rows=40, shards=2, retry={"attempts": 1}, job="leaves_early:Leaves")
    (tmp_path / "leaves_early.py").write_text(
        "import os, signal\nfrom pathlib import Path\nfrom jobs import Job\n\n\nclass Leaves(Job):\n"
        "    def process(self, batch):\n        for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "            try:\n                words = Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\\0')\n"
        "            except OSError:\n                continue\n"
        f"            if b'jobs' in words and {os.fsencode(run_of(config).path)!r} in words:\n"
        "                os.kill(int(pid), signal.SIGKILL)\n"
    )
    done = ended(tmp_path, command("run", config), preexec_fn=_ignore_children)
    assert done.returncode == 1
    assert "was killed by SIGKILL" in done.stdout


@pytest.mark.parametrize("line", ["import argparse", "import jobs.machine.streams"])
def test_an_interrupt_while_modules_are_imported_is_no_traceback(tmp_path: Path, line: str) -> None:
    """Of ``line``: the module raises the signal, in the place of a person who is quick."""
    module = line.split()[1]
    program = (
        f"import signal, sys\n"
        f"class Quick:\n"
        f"    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: signal.raise_signal(signal.SIGINT)\n"
        f"sys.meta_path.insert(0, Quick())\n"
        f"import shardrun\n"
        f"sys.argv = ['launcher', 'list']\n"
        f"sys.exit(shardrun.main())\n"
    )
    done = ended(tmp_path, [sys.executable, "-P", "-c", program])
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_an_error_that_cannot_be_told_has_its_exit_code(tmp_path: Path, flags: list[str]) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$@" >/dev/full 2>/dev/full', "sh", *command("status", "nowhere", *flags)],
        cwd=tmp_path,
        env=environment(),
        check=False,
    )
    assert done.returncode == 2


def test_a_name_too_long_is_bad_input(tmp_path: Path) -> None:
    done = launcher(tmp_path, "status", "x" * 5000)
    assert done.returncode == 2
    assert "File name too long" in done.stderr
    assert len(done.stderr) < 700


def test_a_limit_of_the_size_of_files_is_told_as_a_full_disk_is(tmp_path: Path) -> None:
    config = write_config(tmp_path, rows=4000, shards=1)
    done = ended(tmp_path, ["bash", "-c", f'{UNCOMPILED}; ulimit -f 64; exec "$@"', "bash", *command("run", config)])
    assert done.returncode == 1
    assert "DISK, shard 0: " in done.stdout
    assert "File too large" in done.stdout


def test_a_parameter_that_looks_like_a_script_of_an_unknown_user_is_text(tmp_path: Path) -> None:
    config = write_config(tmp_path, rows=8, shards=1, params={"bad": {"1": "~nobody-of-that-name/x.py"}})
    assert launcher(tmp_path, "plan", config).returncode == 0


@pytest.mark.parametrize("blocks", [0, 1])
def test_a_file_that_cannot_be_written_when_planning_is_named(tmp_path: Path, blocks: int) -> None:
    config = write_config(tmp_path, rows=8, shards=1)
    done = ended(
        tmp_path, ["bash", "-c", f'{UNCOMPILED}; ulimit -f {blocks}; exec "$@"', "bash", *command("plan", config)]
    )
    assert done.returncode == 1
    *_, told = done.stderr.splitlines()  # before it, on a loaded machine, what it was at so long
    assert told.startswith(f"launcher: {run_of(config).path}")
    assert told.endswith(": File too large")
