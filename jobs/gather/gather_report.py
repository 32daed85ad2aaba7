"""GatherReport: what became of a gather."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.gather.committed import Damage
from jobs.gather.survey import Survey
from jobs.storage.records import Part


@dataclass(frozen=True)
class GatherReport:
    """``bytes`` is the size of the result, in ``files`` files; ``damaged`` are rows left out as missing.

    With several manifests, ``parts`` has a report of each by its ``name``, and the other fields are of all of them:
    ``path`` has {manifest} for their names. ``url``: where in a store it went from there. ``new_code`` are the files of a Job
    that folds which had changed since the plan.
    """

    path: Path
    complete: bool
    rows: int
    ok: int
    failed: int
    missing: int
    bytes: int
    damaged: tuple[Damage, ...]
    seconds: float
    name: str | None = None
    seal: str | None = None
    parts: "tuple[GatherReport, ...]" = ()
    new_code: tuple[str, ...] = ()
    files: int = 1
    url: str = ""

    @classmethod
    def of(
        cls, path: Path, part: Part, survey: Survey, seal: str | None, *, size: int, files: int, seconds: float
    ) -> "GatherReport":
        """Of a result of what was surveyed."""
        counts = (survey.rows, survey.ok, survey.failed, survey.missing, size, tuple(survey.lost))
        return cls(path, survey.whole, *counts, seconds, part.name, seal, files=files)

    @property
    def seals(self) -> tuple[str, ...]:
        """Of each result that is complete; see storage/seals.py."""
        return tuple(one.seal for one in self.parts or (self,) if one.seal)

    @classmethod
    def total(cls, path: Path, reports: "Sequence[GatherReport]", seconds: float) -> "GatherReport":
        """Of all results of a run with several manifests."""
        return cls(
            path=path,
            complete=all(report.complete for report in reports),
            rows=sum(report.rows for report in reports),
            ok=sum(report.ok for report in reports),
            failed=sum(report.failed for report in reports),
            missing=sum(report.missing for report in reports),
            bytes=sum(report.bytes for report in reports),
            damaged=tuple(damage for report in reports for damage in report.damaged),
            seconds=seconds,
            parts=tuple(reports),
            files=sum(report.files for report in reports),
        )
