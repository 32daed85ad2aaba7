"""Jobs for tests under limits: they take the memory or the time that they are told to, and give the results of Toy."""

import asyncio
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.job import Context, Job
from jobs.storage.samples import Sample
from tests.example_jobs.toy_jobs import Toy

ROWS_OF_SHARD, FREE = 16, 4
ENGINE_SECONDS = "86399"  # by which an engine is known
_MEGABYTE = 1 << 20


def _take(megabytes: int) -> mmap.mmap:
    """Shared memory, which no limit on a process's own data stops: only the kernel's OOM killer does."""
    memory = mmap.mmap(-1, max(megabytes, 1) * _MEGABYTE)
    for _ in range(megabytes):
        memory.write(b"\1" * _MEGABYTE)
    return memory


class Hungry(Toy):
    """Takes megabytes in its setups, and while it is at the manifest rows named in ``load`` and ``process``.

    ``process`` takes as much for each sample of the batch; ``setup_worker`` takes memory that is its own.
    """

    def __init__(
        self,
        setup: int = 0,
        setup_worker: int = 0,
        load: dict[str, int] | None = None,
        process: dict[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.at_setup = setup
        self.at_setup_worker = setup_worker
        self.at_load = load or {}
        self.at_process = process or {}

    def setup_worker(self, context: Context) -> None:
        self.table = np.ones(self.at_setup_worker * _MEGABYTE, np.uint8)

    def setup(self, context: Context) -> None:
        self.held = _take(self.at_setup)

    def load(self, sample: Sample) -> np.ndarray:
        with _take(self.at_load.get(str(sample.index), 0)):
            return super().load(sample)

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        each = max(self.at_process.get(str(int(row)), 0) for row in batch[:, 0])
        with _take(each * len(batch)):
            return super().process(batch)


class Scores(Toy):
    """What the kernel adds to the score of worker and process when it looks for one to kill."""

    def load(self, sample: Sample) -> Any:
        return _score()

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {"worker": np.asarray(batch), "process": [_score()] * len(batch)}


def _score() -> int:
    return int(Path("/proc/self/oom_score_adj").read_text())


class Leaky(Toy):
    """Keeps ``megabytes`` at each call of ``process`` with manifest rows from ``first`` to ``last``."""

    def __init__(self, first: int, last: int, megabytes: int) -> None:
        super().__init__()
        self.first, self.last, self.megabytes = first, last, megabytes
        self.kept: list[mmap.mmap] = []

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        if self.first <= batch[0, 0] <= self.last:
            self.kept.append(_take(self.megabytes))
        return super().process(batch)


class Swollen(Hungry):
    """As Hungry, but what ``process`` takes is its own, so that the task's own watch sees it; it holds it for a while."""

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        each = max(self.at_process.get(str(int(row)), 0) for row in batch[:, 0])
        held = np.ones(each * len(batch) * _MEGABYTE, np.uint8)
        time.sleep(4 if each else 0)  # the task's watch looks twice a second, if the machine lets it
        del held
        return Toy.process(self, batch)


class Bulky(Toy):
    """Each item holds megabytes until its batch is collated; they are never touched, so only a limit on data counts them."""

    def __init__(self, megabytes: int) -> None:
        super().__init__()
        self.megabytes = megabytes

    def load(self, sample: Sample) -> Any:
        return super().load(sample), np.zeros(self.megabytes * _MEGABYTE, np.uint8)

    def collate(self, items: list[Any]) -> np.ndarray:
        return np.stack([item for item, _ in items])


class Crowded(Toy):
    """Needs more memory than there is for more than ``most`` samples at a time, and for row ``large`` in any case."""

    def __init__(self, setups: str, most: int, large: int = -1) -> None:
        super().__init__()
        self.setups = setups
        self.most = most
        self.large = large

    def setup(self, context: Context) -> None:
        with open(self.setups, "a") as file:
            file.write("x")

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        if len(batch) > self.most or self.large in batch[:, 0]:
            held = np.ones(600 * _MEGABYTE, np.uint8)
            time.sleep(60)
            del held
        return super().process(batch)


class Tabular(Toy):
    """Allocates a little by Arrow, then ``megabytes`` that only a limit on data counts, in pool workers."""

    def __init__(self, megabytes: int) -> None:
        super().__init__()
        self.megabytes = megabytes

    def load(self, sample: Sample) -> np.ndarray:
        pa.array([sample.index])
        np.zeros(self.megabytes * _MEGABYTE, np.uint8)
        return super().load(sample)


class Slow(Toy):
    """Takes ``delay`` seconds for each sample, and for ever for those in ``stuck``.

    It does not go beyond the first FREE rows of a shard of ROWS_OF_SHARD before the file ``gate`` exists. All this at the
    first start that Slurm makes in a submission; elsewhere it is quick.
    """

    def __init__(
        self, delay: float = 0.0, gate: str | None = None, stuck: tuple[int, ...] = (), submission: int = 1
    ) -> None:
        number = os.environ.get("SLURM_JOB_NAME", "").rpartition(".")[2].partition("-")[0]
        is_there = number == str(submission)
        is_first = is_there and "SLURM_RESTART_COUNT" not in os.environ
        super().__init__(delay=delay if is_first else 0.0)
        self.gate = Path(gate) if gate and is_first else None
        self.stuck = stuck if is_first else ()

    def load(self, sample: Sample) -> np.ndarray:
        if sample.index in self.stuck:
            time.sleep(1e6)
        while self.gate and sample.index % ROWS_OF_SHARD >= FREE and not self.gate.exists():
            time.sleep(0.02)
        return super().load(sample)


class Wide(Slow):
    """Has 64 KiB of results for each sample."""

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {**super().process(batch), "wide": np.repeat(batch[:, :1], 8192, axis=1)}


class Tight(Slow):
    """Its second array task cannot be set up with less than ``megabytes``."""

    def __init__(self, megabytes: int, gate: str) -> None:
        super().__init__(gate=gate)
        self.megabytes = megabytes

    def setup(self, context: Context) -> None:
        if os.environ["SLURM_ARRAY_TASK_ID"] == "1" and int(os.environ["SLURM_MEM_PER_NODE"]) < self.megabytes:
            raise MemoryError("not enough")


class SlowlyFolded(Toy):
    """Its results are folded once the file ``gate`` exists."""

    def __init__(self, gate: str) -> None:
        super().__init__()
        self.gate = Path(gate)

    def reduce(self, state: Any, block: Any) -> int:
        while not self.gate.exists():
            time.sleep(0.02)
        return 1

    def finish(self, state: Any) -> dict[str, Any]:
        return {"folded": np.array([state])}


class SlowAndBroken(Slow):
    """Cannot be set up until the file ``marker`` exists."""

    def __init__(self, marker: str, **slow: Any) -> None:
        super().__init__(**slow)
        self.marker = Path(marker)

    def setup(self, context: Context) -> None:
        if not self.marker.exists():
            raise ValueError("not there yet")


class Starter(Toy):
    """At the rows named in ``load`` and ``process`` it starts a program that takes so many megabytes, for a while.

    The first one waits for a second, where they are to be there ``together``: the path of a file.
    """

    def __init__(
        self,
        load: dict[str, int] | None = None,
        process: dict[str, int] | None = None,
        seconds: float = 0.0,
        together: str = "",
    ) -> None:
        super().__init__()
        self.at_load = load or {}
        self.at_process = process or {}
        self.seconds = seconds
        self.together = together

    def load(self, sample: Sample) -> np.ndarray:
        self.start(self.at_load.get(str(sample.index), 0))
        return super().load(sample)

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        self.start(max(self.at_process.get(str(int(row)), 0) for row in batch[:, 0]))
        return super().process(batch)

    def start(self, megabytes: int) -> None:
        code = f"import time; block = b'1' * ({megabytes} << 20); time.sleep({self.seconds})"
        if self.together:
            meet = f"with open({self.together!r}, 'a') as file: file.write('x')\n"
            code = f"{meet}import os, time\nwhile os.path.getsize({self.together!r}) < 2: time.sleep(0.02)\n{code}"
        if megabytes:
            subprocess.run(["setsid", "--wait", sys.executable, "-c", code], check=True)


class Answers(Job):
    """Has an engine, a program of its own; it answers the first samples of each shard, the others once the gate is there."""

    def __init__(self, gate: str) -> None:
        self.gate = Path(gate)

    async def setup(self, context: Context) -> None:
        self.engine = await asyncio.create_subprocess_exec("sleep", ENGINE_SECONDS)

    def load(self, sample: Sample) -> int:
        return sample.index

    async def process_sample(self, row: int, seed: int) -> dict[str, Any]:
        while row % ROWS_OF_SHARD >= FREE and not self.gate.exists():
            await asyncio.sleep(0.1)
        return {"y": 2 * row, "seed": seed}
