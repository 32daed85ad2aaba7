"""Scratch: folders that are gone with the process that made them; what killed ones left goes when the next is made.

Made by array tasks (for their Jobs, on the node's own disk), by jobs.Hierarchy and by probes. A name tells whose the folder
is, so that no file in it and no lock is needed, which file systems may not know.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import xxhash

from jobs.errors import InputError
from jobs.machine.process_identity import ProcessIdentity

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def scratch_folder(text: str, environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of ``node.scratch`` on this node, made if need be. Raises InputError where it cannot be had."""
    where = f"node.scratch: {text} on {os.uname().nodename}"

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if not environment.get(name):
            raise InputError(
                f"{where}: the variable {name} is not set there; write the folder out, or set it where tasks start"
            )
        return environment[name]

    folder = Path(_VARIABLE.sub(value, text)).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{where}: {folder}: {error.strerror}; choose a folder that can be written there") from None
    return folder


def make_scratch(folder: Path | None = None, prefix: str = "launcher-") -> Path:
    """A new folder of this process in ``folder`` (default: TMPDIR).

    Removes those with the prefix whose processes are gone: this user's, of this machine since it started.
    """
    place = folder or Path(tempfile.gettempdir())
    me = ProcessIdentity.current()
    # Where its pid means this process: the machine, since it started, and the container.
    machine = xxhash.xxh32_hexdigest(f"{me.host} {me.boot} {me.namespace}".encode())
    name = re.compile(rf"{re.escape(prefix)}{machine}-(\d+)-(\d+)-\w+")
    with suppress(PermissionError), os.scandir(place) as entries:  # some sites let nobody list /tmp
        for entry in entries:
            found = name.fullmatch(entry.name)
            if found and _is_mine(entry) and not _lives(me, *map(int, found.groups())):
                shutil.rmtree(entry.path, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{machine}-{me.pid}-{me.start}-", dir=place))


def _lives(me: ProcessIdentity, pid: int, start: int) -> bool:
    return replace(me, pid=pid, start=start).is_alive


def _is_mine(entry: os.DirEntry[str]) -> bool:
    # TMPDIR is everybody's: a link in it may lead anywhere, and a folder be another user's, or removed just now by a task
    # that looks for the same ones.
    with suppress(FileNotFoundError):
        return entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid()
    return False
