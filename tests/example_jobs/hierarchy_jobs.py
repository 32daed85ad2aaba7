"""Jobs and functions for tests of Hierarchy, importable by its workers."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jobs.job import Context, Job


class Scale(Job):
    """Loads arrays from numbers, multiplies them; ``bad`` maps a number to what happens there."""

    def __init__(self, factor: int = 2, bad: dict[int, str] | None = None) -> None:
        self.factor = factor
        self.bad = bad or {}

    def load(self, sample: Any) -> np.ndarray:
        if self.bad.get(sample) == "load":
            raise ValueError(f"cannot load {sample}")
        if self.bad.get(sample) == "kill-worker":
            os.kill(os.getpid(), signal.SIGKILL)
        return np.full(8, float(sample))

    def setup(self, context: Context) -> None:
        self.device = context.device

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        numbers = batch[:, 0].astype(int)
        for number in numbers:
            if self.bad.get(number) == "process":
                raise RuntimeError(f"cannot process {number}")
            if self.bad.get(number) == "kill-process":
                os.kill(os.getpid(), signal.SIGSEGV)
        return {"y": batch * self.factor, "text": [f"{self.device} {number}" for number in numbers]}


class Passes(Job):
    """Returns its batch, sample by sample, but not together with sample 13."""

    def load(self, sample: Any) -> np.ndarray:
        return np.full(3000, float(sample))

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        if (batch[:, 0] == 13).any():
            raise RuntimeError("bad luck")
        return {"rows": list(batch)}


class Unready(Job):
    """Cannot be set up."""

    def setup(self, context: Context) -> None:
        raise RuntimeError("no such model")

    def process(self, batch: Any) -> dict[str, Any]:
        return {}


class Leaves(Job):
    """Writes a file when it is torn down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup_worker(self, context: Context) -> None:
        """So that there is something to tear down."""

    def load(self, sample: Any) -> Any:
        return sample

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {"x": batch}

    def teardown(self) -> None:
        (self.folder / str(os.getpid())).touch()


def misbehave(what: Any) -> Any:
    """A function that does as its sample says."""
    match what:
        case "raise":
            raise ValueError("bad sample")
        case "exit":
            raise SystemExit(3)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleep":
            time.sleep(3600)
        case "allocate":
            hoard = []
            while True:
                hoard.append(np.ones(1 << 22))
        case "generator":
            return (number for number in range(3))
    return what


class Contained(Job):
    """Returns its batch in a container of somebody else's."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def load(self, sample: Any) -> np.ndarray:
        return np.array(sample)

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        import pandas as pd
        import pyarrow as pa

        texts = list(map(str, batch))
        # An index of another order: the rows of a batch are in the order in which they stand there.
        backwards = range(len(batch))[::-1]
        # pyarrow has no types, and numpy's arrays are a Buffer from Python 3.12 on.
        array: Any = pa.array
        held: Any = batch
        made: dict[str, Callable[[], Any]] = {
            "series": lambda: pd.Series(batch, index=backwards),
            "texts": lambda: pd.Series(texts),
            "arrow": lambda: array(batch),
            "arrow texts": lambda: array(texts),
            "memory": lambda: memoryview(held),
        }
        return {"y": made[self.kind]()}
