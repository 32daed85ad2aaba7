"""Jobs that fork a process and do not see to its end, as os.fork leaves it to them."""

import os
import sys
from typing import Any

import numpy as np

from jobs.job import Context, Job


class Forks(Job):
    """Forks three times ``where`` it is told: one copy leaves by sys.exit, one raises, and one goes on."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._left = ["return", "raise", "exit"]

    def _fork(self, where: str) -> None:
        if where != self._where or not self._left:
            return
        how = self._left.pop()
        if os.fork() == 0:
            if how == "exit":
                sys.exit(3)
            if how == "raise":
                raise ValueError("in the copy")

    def setup_worker(self, context: Context) -> None:
        for _ in range(3):
            self._fork("setup_worker")

    def setup(self, context: Context) -> None:
        for _ in range(3):
            self._fork("setup")

    def load(self, sample: Any) -> int:
        if sample["x"] % 4 == 0:
            self._fork("load")
        return int(sample["x"])

    def collate(self, items: list[int]) -> np.ndarray:
        self._fork("collate")
        return np.array(items)

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        self._fork("process")
        return {"y": batch * 2}


class Panic(BaseException):
    """As extensions written in Rust raise it: no Exception."""


class Panics(Job):
    """Raises what is no Exception, for row 5."""

    def __init__(self, where: str) -> None:
        self._where = where

    def load(self, sample: Any) -> int:
        if self._where == "load" and sample["x"] == 5:
            raise Panic("called `Option::unwrap()` on a `None` value")
        return int(sample["x"])

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        if self._where == "process" and 5 in batch:
            raise Panic("called `Option::unwrap()` on a `None` value")
        return {"y": batch * 2}
