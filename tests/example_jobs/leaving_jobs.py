"""Jobs that start processes and threads of all kinds and forget them, that leave in odd ways, or take their time to."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from jobs.job import Context, Job
from jobs.storage.samples import Sample

_FORK = multiprocessing.get_context("fork")

if os.environ.get("SLOW_IMPORT") and "pytest" not in sys.modules:
    time.sleep(float(os.environ["SLOW_IMPORT"]))


def _wait_like(mark: str) -> None:
    subprocess.run(["sleep", mark], check=False)


def start(kind: str, mark: str) -> None:
    """Starts a program ``sleep MARK`` in a way that nobody remembers."""
    match kind:
        case "program":
            subprocess.Popen(["sleep", mark])
        case "session":
            subprocess.Popen(["setsid", "env", "-i", "sleep", mark])
        case "daemon":
            subprocess.run(["sh", "-c", f"setsid env -i sleep {mark} >/dev/null 2>&1 &"], check=True)
        case "deaf":
            subprocess.Popen(["sh", "-c", f"trap '' TERM; setsid sleep {mark}"])
        case "multiprocessing":
            _FORK.Process(target=_wait_like, args=(mark,), daemon=True).start()


KINDS = ("program", "session", "daemon", "deaf", "multiprocessing")


class Forgetful(Job):
    """Starts programs of all kinds wherever it can; the samples in ``hang`` take for ever, others wait for ``gate``."""

    def __init__(self, mark: str, hang: int = -1, gate: str = "") -> None:
        self.mark = mark
        self.hang = hang
        self.gate = gate

    def setup_worker(self, context: Context) -> None:
        for kind in KINDS:
            start(kind, self.mark)

    def setup(self, context: Context) -> None:
        for kind in KINDS:
            start(kind, self.mark)

    def load(self, sample: Sample) -> int:
        if sample.index == self.hang:
            subprocess.run(["sleep", self.mark], check=False)
        while self.gate and not Path(self.gate).exists():
            time.sleep(0.02)
        return int(sample["x"])

    def process(self, batch: Any) -> dict[str, Any]:
        return {"y": batch}


class Terminator(Job):
    """Ends what it has forked by SIGTERM, as multiprocessing does."""

    def load(self, sample: Sample) -> bool:
        child = _FORK.Process(target=time.sleep, args=(600,))
        child.start()
        child.terminate()
        child.join(20)
        dead = child.exitcode == -signal.SIGTERM
        child.kill()
        return dead

    def process(self, batch: Any) -> dict[str, Any]:
        with _FORK.Pool(2) as pool:
            first = next(pool.imap_unordered(time.sleep, [0, 600, 600, 600]))
        return {"dead": batch, "first": np.full(len(batch), first is None)}


class Leaver(Job):
    """The first pool worker leaves at once, with an exit code that means something elsewhere."""

    def __init__(self, code: int, been_here: str) -> None:
        self.code = code
        self.been_here = been_here

    def setup_worker(self, context: Context) -> None:
        if not Path(self.been_here).exists():
            Path(self.been_here).touch()
            os._exit(self.code)

    def load(self, sample: Sample) -> int:
        return int(sample["x"])

    def process(self, batch: Any) -> dict[str, Any]:
        return {"y": batch}


class Slow(Leaver):
    """Takes ``seconds`` to tear down, or leaves a thread and a process behind that would hold up its end."""

    def __init__(self, seconds: float, folder: str, leave: bool = False) -> None:
        self.seconds = seconds
        self.folder = folder
        self.leave = leave

    def setup_worker(self, context: Context) -> None:
        pass

    def teardown(self) -> None:
        if self.leave:
            threading.Thread(target=time.sleep, args=(600,)).start()
            _FORK.Process(target=time.sleep, args=(600,)).start()
        (Path(self.folder) / f"begun-{os.getpid()}").touch()
        time.sleep(self.seconds)
        (Path(self.folder) / f"done-{os.getpid()}").touch()


class Paired(Slow):
    """Tears down what ``setup`` has made, and raises; or cannot be set up."""

    setup_worker = Job.setup_worker

    def __init__(self, folder: str, *, broken: bool = False) -> None:
        super().__init__(0, folder)
        self.broken = broken

    def setup(self, context: Context) -> None:
        if self.broken:
            raise RuntimeError("no such model")
        self.engine = "engine"

    def teardown(self) -> None:
        (Path(self.folder) / f"torn-down-{os.getpid()}").touch()
        raise OSError(f"{self.engine} is gone")


class Gated(Leaver):
    """Loads once the gate is open."""

    def __init__(self, gate: str) -> None:
        self.gate = gate

    def setup_worker(self, context: Context) -> None:
        pass

    def load(self, sample: Sample) -> int:
        while not Path(self.gate).exists():
            time.sleep(0.02)
        return int(sample["x"])


class Closing(Job):
    """Closes all file descriptors at a sample, as a library that daemonizes does, and then opens files of its own."""

    def __init__(self, where: str, folder: str, at: int = 5) -> None:
        self.where = where
        self.folder = Path(folder)
        self.at = at

    def _close(self) -> None:
        os.closerange(3, 1024)
        for number in range(20):
            # For good: they have the numbers of what was closed.
            os.open(self.folder / f"{os.getpid()}-{number}", os.O_RDWR | os.O_CREAT)

    def setup_worker(self, context: Context) -> None:
        if self.where == "setup_worker":
            self._close()

    def load(self, sample: Sample) -> np.ndarray:
        if self.where == "load" and sample.index == self.at:
            self._close()
        return np.array([sample.index])

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        if self.where == "process" and self.at in batch:
            self._close()
        return {"y": 2 * batch[:, 0]}


class Alarmed(Job):
    """Ends a sample that takes too long by a timer whose handler raises, and never switches it off; the other half is slow."""

    def __init__(self, where: str, at: int) -> None:
        self.where = where
        self.at = at

    def setup_worker(self, context: Context) -> None:
        signal.signal(signal.SIGALRM, _raise_too_slow)

    def setup(self, context: Context) -> None:
        signal.signal(signal.SIGALRM, _raise_too_slow)

    def load(self, sample: Sample) -> np.ndarray:
        self._work("load", sample.index == self.at)
        return np.array([sample.index])

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        self._work("process", self.at in batch)
        return {"y": 2 * batch[:, 0]}

    def _work(self, where: str, is_slow: bool) -> None:
        if where != self.where:
            time.sleep(1.5)
            return
        signal.setitimer(
            signal.ITIMER_REAL, 1.0
        )  # on a busy machine, a sample that is not slow takes a part of it, too
        if is_slow:
            time.sleep(3600)


def _raise_too_slow(number: int, frame: object) -> None:
    raise TimeoutError("too slow")


class Patching(Job):
    """Does what gevent.monkey.patch_all() does, as far as one can see, in a method."""

    def __init__(self, where: str) -> None:
        self.where = where

    def setup_worker(self, context: Context) -> None:
        if self.where == "setup_worker":
            patch_all()

    def setup(self, context: Context) -> None:
        if self.where == "setup":
            patch_all()

    def process(self, batch: Any) -> dict[str, Any]:
        return {"y": batch["x"]}


def patch_all() -> None:
    stand_in = ModuleType("gevent.monkey")
    setattr(stand_in, "is_module_patched", {"socket"}.__contains__)  # noqa: B010 - mypy knows no such attribute
    sys.modules["gevent.monkey"] = stand_in


class Stopping(Job):
    """Starts a program that is stopped, and waits for its end, at a sample."""

    def __init__(self, at: int) -> None:
        self.at = at

    def load(self, sample: Sample) -> np.ndarray:
        if sample.index == self.at:
            with subprocess.Popen(["sleep", "1"]) as program:
                program.send_signal(signal.SIGSTOP)
        return np.array([sample.index])

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {"y": 2 * batch[:, 0]}
