"""Jobs that use their memory again, keep what they got, or are short of addresses: what crosses a border must not notice."""

import os
import resource
import sys
import time
from collections import UserDict
from pathlib import Path
from typing import Any

import numpy as np

from jobs.job import Context, Job


class Reuses(Job):
    """Its collate and its process fill one buffer each, of ``kind``, again and again, inside a UserDict."""

    preload = ("torch",)

    def __init__(self, kind: str) -> None:
        import torch

        self._collated: Any = np.zeros(8) if kind == "numpy" else torch.zeros(8, dtype=getattr(torch, kind))
        self._returned = np.zeros((8, 20_000))

    def load(self, sample: Any) -> float:
        return float(sample["x"])

    def collate(self, items: list[float]) -> Any:
        for at, item in enumerate(items):
            self._collated[at] = item
        return UserDict(x=self._collated[: len(items)])

    def process(self, batch: Any) -> Any:
        numbers = np.array([float(number) for number in batch["x"]])
        self._returned[: len(numbers)] = numbers[:, None]
        time.sleep(0.02)  # as for a device
        return UserDict(y=self._returned[: len(numbers)])


class Keeps(Job):
    """Keeps the first row of each batch, and says which of these still are what they were."""

    def setup(self, context: Context) -> None:
        self._kept: list[tuple[float, np.ndarray]] = []

    def load(self, sample: Any) -> np.ndarray:
        return np.full(4, float(sample["x"]))

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        are = [bool(row[0] == was) for was, row in self._kept]
        self._kept.append((float(batch[0, 0]), batch[0]))
        return {"kept": [all(are)] * len(batch), "changed": [not any(are)] * len(batch)}


class Short(Job):
    """Has addresses for small batches, not for the rows 16 to 23 as one: in its workers, or in its process."""

    def __init__(self, where: str) -> None:
        self._where = where

    def setup_worker(self, context: Context) -> None:
        if self._where == "worker":
            self._limit()

    def setup(self, context: Context) -> None:
        if self._where == "process":
            self._limit()

    @staticmethod
    def _limit() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (250 << 20), -1))

    def load(self, sample: Any) -> int:
        return int(sample["x"])

    def collate(self, items: list[int]) -> np.ndarray:
        batch = np.full((len(items), 20_000_000 if 16 <= items[0] < 24 and len(items) == 8 else 1_000_000), 7, np.int8)
        batch[:, 0] = items
        return batch

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {"y": batch[:, 0].copy(), "seven": batch[:, 5].copy()}


class Finds(Job):
    """A list a sample, often empty: nothing in the first 16 rows, then as many numbers as the row says; of ``kind``."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def load(self, sample: Any) -> int:
        return int(sample["x"])

    def collate(self, items: list[int]) -> list[int]:
        return items

    def process(self, batch: list[int]) -> dict[str, Any]:
        found = [list(range(number % 4)) if number >= 16 else [] for number in batch]
        return {"found": [np.array(one) for one in found] if self._kind == "array" else found}


class Explodes(Job):
    """Row 5 is an item that raises where it is ``pickled`` or ``unpickled``."""

    def __init__(self, when: str) -> None:
        self._when = when

    def load(self, sample: Any) -> Any:
        return Grenade(self._when if sample["x"] == 5 else "", int(sample["x"]))

    def process(self, batch: list[Any]) -> dict[str, Any]:
        return {"y": [item.number for item in batch]}


class Grenade:
    """An object that opens a file where it goes."""

    def __init__(self, when: str, number: int) -> None:
        self.when, self.number = when, number

    def __getstate__(self) -> dict[str, Any]:
        if self.when == "pickled":
            raise ConnectionResetError("gone")
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        if self.when == "unpickled":
            raise FileNotFoundError("gone")


class Mutes(Job):
    """Makes its stdout and stderr unfit for anything, its items are pickled, and row 5 raises."""

    def __init__(self, how: str) -> None:
        self._how = how

    def setup_worker(self, context: Context) -> None:
        if self._how == "closed descriptors":
            os.close(0)
            os.close(1)
            os.close(2)
        elif self._how == "closed":
            sys.stdout.close()
            sys.stderr.close()
        else:
            sys.stdout = sys.stderr = None if self._how == "None" else object()

    def setup(self, context: Context) -> None:
        self.setup_worker(context)

    def load(self, sample: Any) -> set[int]:
        if sample["x"] == 5:
            raise ValueError("row five")
        return {int(sample["x"])}

    def process(self, batch: list[set[int]]) -> dict[str, Any]:
        if self._how == "closed descriptors":
            os.write(1, b"what a Job prints must not be in its results")
        return {"y": [number for (number,) in batch]}
