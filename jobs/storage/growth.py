"""Growth: how a plan became a larger one. What is done stays done, but for samples that are others now."""

from dataclasses import dataclass
from functools import cached_property

from jobs.storage.spans import Spans


@dataclass(frozen=True)
class Growth:
    """One time that a plan grew, from ``rows_before`` rows to ``rows``; ``submission`` is the last one that there was then.

    ``changed`` are rows of before (as ``str`` of Spans) whose samples are others since; ``manifest`` is the fingerprint of
    all samples before, ``sources`` are where the new ones come from.
    """

    time: float
    submission: int
    rows_before: int
    rows: int
    changed: str = ""
    manifest: str = ""
    sources: tuple[str, ...] = ()

    @cached_property
    def changed_rows(self) -> Spans:
        return Spans.parse(self.changed)
