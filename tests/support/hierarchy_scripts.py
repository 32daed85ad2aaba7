"""Runs scripts that use Hierarchy as a user would, and finds what they leave behind."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.support.launcher_runs import ROOT
from tests.support.patience import PATIENCE

_MARK = "HIERARCHY_TEST"
LEFT = '''
import os, threading, psutil
def left():
    """What this process has beyond itself: children, zombies included, threads, open shared memory."""
    shared = [name for name in os.listdir("/proc/self/fd") if "launcher" in os.path.realpath(f"/proc/self/fd/{name}")]
    return len(psutil.Process().children(recursive=True)), threading.active_count() - 1, len(shared)
'''


class Script:
    """A script that was started, in an environment that marks all its descendants."""

    def __init__(self, folder: Path, text: str, *, arguments: tuple[str, ...] = (), stdin: str | None = None) -> None:
        (folder / "script.py").write_text(text)
        self._mark = uuid.uuid4().hex
        environment = {**os.environ, "PYTHONPATH": str(ROOT), _MARK: self._mark}
        command = [sys.executable, *(arguments or ("script.py",))]
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        self._stdin = stdin

    def end(self) -> tuple[int, str, str]:
        """(exit code, stdout, stderr) once it ends."""
        try:
            out, err = self.process.communicate(self._stdin, timeout=PATIENCE)
        except BaseException:  # the test is over, so the script is
            self.process.kill()
            raise
        return self.process.returncode, out, err

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout
        return self.process.stdout.readline().rstrip()

    def running(self) -> list[int]:
        """All processes of it that run, zombies not counted."""
        return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and self._is_mine(path)]

    def _is_mine(self, path: Path) -> bool:
        try:
            return f"{_MARK}={self._mark}".encode() in (path / "environ").read_bytes()
        except OSError:
            return False


def run(folder: Path, text: str, *, arguments: tuple[str, ...] = (), stdin: str | None = None) -> str:
    """Runs a script to its end; returns what it prints. It must succeed and leave nothing behind."""
    script = Script(folder, text, arguments=arguments, stdin=stdin)
    code, out, err = script.end()
    assert code == 0, f"{out}{err}"
    assert script.running() == []
    return out


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
