"""Jobs whose errors and names are of classes of their own, which behave as no text does, or are known in no other process."""

from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from jobs.errors import ProcessBroken
from jobs.job import Job
from jobs.node.process.run_backend import BatchWriter


class Text(str):
    def __format__(self, spec: str) -> NoReturn:
        raise RuntimeError("no format")


class Odd(Exception):
    def __str__(self) -> str:
        return Text("odd")


class OddlyBroken(ProcessBroken):
    def __str__(self) -> str:
        return Text("the engine has died")


class WordlessBroken(ProcessBroken):
    def __str__(self) -> NoReturn:
        raise RuntimeError("no words")


class Nameless(ModuleNotFoundError):
    def __init__(self) -> None:
        super().__init__("a module", name=5)  # type: ignore[arg-type]


class BadGroup(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> NoReturn:
        raise RuntimeError("no members")


class Output(str, Enum):  # noqa: UP042 - a StrEnum would be told as its text anyway
    TOKENS = "y"


ERRORS: dict[str, Any] = {
    "text": Odd,
    "name": Nameless,
    "group": lambda: BadGroup("bad", [ValueError()]),
    "broken": lambda: OddlyBroken("x"),
    "wordless": lambda: WordlessBroken("x"),
}


class Batches(Job):
    """Row 5 raises ``error``; once only where that breaks its process, which ``mark`` remembers."""

    counts = (Output.TOKENS,)

    def __init__(self, error: str, mark: str) -> None:
        self._error, self._mark = error, Path(mark)

    def load(self, sample: Any) -> int:
        return int(sample["x"])

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        if 5 in batch.tolist():
            self.fail()
        return {Output.TOKENS: batch}

    def fail(self) -> None:
        if not self._mark.exists():
            error = ERRORS[self._error]()
            if isinstance(error, ProcessBroken):
                self._mark.touch()
            raise error


class Singles(Batches):
    async def process_sample(self, item: int, seed: int) -> dict[str, Any]:
        if item == 5:
            self.fail()
        return {Output.TOKENS: item}

    process = Job.process


class Boxes(Job):
    """Lists that are empty in the first batch; in the second one row has whole numbers, and one fractions."""

    def load(self, sample: Any) -> int:
        return int(sample["x"])

    def collate(self, items: list[int]) -> list[int]:
        return items

    def process(self, batch: list[int]) -> dict[str, Any]:
        boxes: dict[int, Any] = {2: [1, 2], 3: [0.5]}
        return {"boxes": [boxes.get(row, []) for row in batch]}


class ShortOfMemory(Batches):
    """Batches, where there is no memory to store what they return."""

    def setup(self, context: Any) -> None:
        BatchWriter.store = BatchWriter.store_rows = _raise_memory_error  # type: ignore[assignment,method-assign]


def _raise_memory_error(*_: Any) -> NoReturn:
    raise MemoryError


class ShortOfMemorySingles(ShortOfMemory, Singles):
    """The same one by one."""
