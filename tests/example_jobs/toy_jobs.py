"""Small Jobs for tests: cheap, deterministic for a seed, and able to misbehave on named samples."""

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from jobs.job import Context, Job
from jobs.node.batches import BatchWork
from jobs.node.process.run_backend import BatchWriter
from jobs.storage.records import Commit
from jobs.storage.samples import Sample


class Toy(Job):
    """Doubles the column ``x``; fixed, text and ragged outputs.

    ``bad`` maps a manifest row (as text: YAML and JSON keys) to what happens there. ``wait`` is how long process waits, as
    if for a device, and ``delay`` how long load takes, seconds; until the file ``hurry`` is there, if one is named.
    """

    def __init__(
        self, bad: dict[str, str] | None = None, delay: float = 0.0, wait: float = 0.0, hurry: str = ""
    ) -> None:
        self.bad = bad or {}
        self.delay = delay
        self.wait = wait
        self.hurry = hurry

    def load(self, sample: Sample) -> np.ndarray:
        if not (self.hurry and os.path.exists(self.hurry)):
            time.sleep(self.delay)
        match self.bad.get(str(sample.index)):
            case "raise":
                raise ValueError("bad sample")
            case "exit":
                raise SystemExit(3)
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "sleep":
                time.sleep(3600)
            case "allocate":
                hoard = []
                while True:
                    hoard.append(np.ones(1 << 23))
            case "shape":
                return np.ones(5)
        return np.full(4, float(sample["x"]))

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        time.sleep(self.wait)
        rows = batch[:, 0].astype(int)
        for row in rows:
            match self.bad.get(str(row)):
                case "process-raise":
                    raise RuntimeError("bad in process")
                case "process-kill":
                    os.kill(os.getpid(), signal.SIGKILL)
        return {
            "y": batch * 2,
            "text": [f"row {row}" for row in rows],
            "ragged": [np.arange(row % 5, dtype=np.float32) for row in rows],
        }


class Everything(Job):
    """An output of each kind, as tests.support.builders has them. ``wait`` is how long process waits, seconds.

    ``tally``: a file that gets a line for each process, "process PID", and for each batch computed, "SUPERVISOR TIME ROW ...".
    """

    def __init__(self, tally: str | None = None, wait: float = 0.0) -> None:
        self.tally = tally
        self.wait = wait

    def setup(self, context: Context) -> None:
        self.supervisor = _first_alike(os.getpid())
        self._tell(f"process {os.getpid()}")

    def load(self, sample: Sample) -> int:
        return int(sample["x"])

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        from tests.support.builders import everything

        time.sleep(self.wait)
        self._tell(f"{self.supervisor} {time.time()} {' '.join(map(str, batch.tolist()))}")
        return everything(batch)

    def _tell(self, line: str) -> None:
        if self.tally:
            file = os.open(self.tally, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, f"{line}\n".encode())
            os.close(file)


def _first_alike(pid: int) -> int:
    """The supervisor of a process: all that it has forked has its command line."""
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    lines = [Path(f"/proc/{one}/cmdline").read_bytes() for one in (pid, parent)]
    return _first_alike(parent) if lines[0] == lines[1] else pid


class Random(Job):
    """Uses the generators, so its results are repeatable only if they are seeded by batch."""

    def __init__(self, delay: float = 0.0, wait: float = 0.0) -> None:
        self.delay = delay
        self.wait = wait

    def load(self, sample: Sample) -> np.ndarray:
        time.sleep(self.delay)
        return np.full(8, float(sample["x"])) + np.random.rand()

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        time.sleep(self.wait)
        rows = batch[:, 0].astype(int)
        return {"y": batch * 2 + random.random(), "text": [str(row) for row in rows]}


class Struck(Random):
    """Random, killed from outside while it is at row 100: ``times`` times in load, then as often in process."""

    def __init__(self, tally: str, times: int) -> None:
        super().__init__()
        self.tally = Path(tally)
        self.times = times

    def load(self, sample: Sample) -> np.ndarray:
        if sample.index == 100:
            self._strike(self.times)
        return super().load(sample)

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        if 100 in batch[:, 0].astype(int):
            self._strike(2 * self.times)
        return super().process(batch)

    def _strike(self, most: int) -> None:
        with self.tally.open("a") as file:
            if file.tell() < most:
                file.write("x")
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)


class BadSetup(Job):
    """Cannot be set up: in the process, or in the worker where ``worker`` is set."""

    def __init__(self, worker: bool = False) -> None:
        self.worker = worker

    def setup(self, context: Context) -> None:
        if not self.worker:
            raise RuntimeError("no such model")

    def setup_worker(self, context: Context) -> None:
        if self.worker:
            raise RuntimeError("no such tokenizer")

    def process(self, batch: Any) -> dict[str, Any]:
        return {"x": batch["x"]}


class DyingSetup(Job):
    """Dies in its setup, as a native library may."""

    def setup(self, context: Context) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def process(self, batch: Any) -> dict[str, Any]:
        return {"x": batch["x"]}


class Where(Job):
    """Says where it ran."""

    def setup(self, context: Context) -> None:
        self.context = context

    def process(self, batch: Any) -> dict[str, Any]:
        time.sleep(0.02)
        rows = len(batch["x"])
        return {"process": np.full(rows, self.context.process_index), "device": [self.context.device] * rows}


class NoTorch(Job):
    """Tells whether torch was imported in its process and in its pool workers."""

    def load(self, sample: Sample) -> int:
        import sys

        return int("torch" in sys.modules)

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        import sys

        return {"worker": batch, "process": np.full(len(batch), int("torch" in sys.modules))}


class Unstorable(Toy):
    """From row 160 on, something that nobody thought of goes wrong where its results are stored."""

    def setup(self, context: Context) -> None:
        store = BatchWriter.store

        def break_down(writer: BatchWriter, work: BatchWork) -> Commit:
            if work.batch.start >= 160:
                raise ValueError("nobody thought of this")
            return store(writer, work)

        BatchWriter.store = break_down  # type: ignore[assignment, method-assign]


class Echo(Job):
    """Returns views of its batch, as a Job may that passes something through."""

    def load(self, sample: Sample) -> np.ndarray:
        return np.full(16, float(sample["x"]))

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {"y": batch, "half": batch[:, :8]}


class Waits(Job):
    """Waits for a device, returns one array again and again, and tells how many threads its process has."""

    def setup(self, context: Context) -> None:
        self.result = np.zeros((64, 16))

    def load(self, sample: Sample) -> np.ndarray:
        return np.full(16, float(sample["x"]))

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        self.result[:] = np.nan
        time.sleep(0.02)
        self.result[: len(batch)] = batch
        threads = [threading.current_thread() is threading.main_thread(), threading.active_count()]
        return {"y": self.result[: len(batch)], "threads": np.tile(threads, (len(batch), 1))}


class TwoForms(Job):
    """Takes two samples at a time, never rows 2 and 3; gives float32 for the rows before those and int64 for the rest."""

    def process(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        rows = batch["x"]
        if len(rows) > 2 or np.isin(rows, (2, 3)).any():
            raise RuntimeError("too many, or bad")
        return {"y": rows.astype(np.float32 if rows[0] < 2 else np.int64)}


class Pairs(Job):
    """Every other row: of six samples three rows, of one sample one."""

    def load(self, sample: Sample) -> np.float64:
        return np.float64(sample["x"])

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {"y": batch[::2]}
