"""Exceptions that raise when they are asked for their words, and a Job that raises them."""

from typing import Any, NoReturn

import numpy as np

from jobs.job import Job


class Wordless(Exception):
    def __str__(self) -> NoReturn:
        raise RuntimeError("no words")

    def __repr__(self) -> NoReturn:
        raise RuntimeError("no words")

    def __reduce__(self) -> NoReturn:
        raise RuntimeError("no way to send it")


def square_but_five(number: int) -> int:
    if number == 5:
        raise Wordless
    return number * number


class RaisesWordless(Job):
    """At row 3 in load, at row 5 in process."""

    def load(self, sample: Any) -> np.ndarray:
        if sample["x"] == 3:
            raise Wordless
        return np.array([sample["x"]])

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        if 5 in batch:
            raise Wordless
        return {"y": batch}
