"""Jobs with parameters of many types, for tests of how these are checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from jobs.job import Job

if TYPE_CHECKING:
    import torch


class Typed(Job):
    """Stores how its parameters reached it.

    ``count`` is the number of things (a few; not many), ``rate`` may be anything. The ``mode`` decides the rest;
    ``folder`` is where they lie.
    """

    def __init__(  # type: ignore[no-untyped-def]
        self,
        count: int,
        mode: Literal["fast", "slow"] = "fast",
        rate: float = 0.1,
        flag: bool = False,
        text: str = "",
        folder: Path | None = None,
        names: list[str] | None = None,
        pair: tuple[int, float] = (1, 2.0),
        sizes: dict[str, int] | None = None,
        either: int | str = 1,
        mixed: list[int | bool] | None = None,
        small: Annotated[int, Field(ge=1, le=9)] = 3,
        plain=None,
        tensor: torch.Tensor | None = None,
        array: np.ndarray | None = None,
    ) -> None:
        if count == 13:
            raise ValueError("13 of them are too many")
        self.folder, self.names, self.pair, self.plain = folder, names, pair, plain

    def process(self, batch: Any) -> dict[str, Any]:
        shown = repr((self.folder, self.names, self.pair, self.plain))
        return {"shown": [shown] * len(batch["x"])}


class Open(Job):
    """Takes anything.

    Args:
        known: the one that is known,
            told on two lines
        **options: whatever else
    """

    def __init__(self, known: int = 1, **options: Any) -> None:
        self.options = options


class NoParameters(Job):
    """Takes nothing."""
