"""SampleErrors: each failed sample of a run, with its id, by the attempts that count; one after another, none is kept."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jobs.kinds import SampleFailureKind, Unknown
from jobs.storage.attempts import Attempts, Ownership, owners, read_failed
from jobs.storage.plans import Plan
from jobs.storage.records import FailedSample
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans


@dataclass(frozen=True, slots=True)
class SampleError:
    """A failed sample, as it is in /errors of its result; ``manifest`` names that where a run has several."""

    id: str
    row: int
    kind: SampleFailureKind | Unknown
    message: str
    attempts: int
    shard: int | None = None
    manifest: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Without what is not known."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in found.items() if value is not None}


def read_errors(run: RunDir, plan: Plan, shard: int | None = None) -> Iterator[SampleError]:
    """Those of all that is done, or of one shard: by attempt, nearly in the order of rows, as they were stored."""
    wanted = Spans([(0, plan.rows)]) if shard is None else plan.table.rows_of([shard])
    owned = [one for one in owners(Attempts(run).read()) if one.attempt.beat.failed and one.rows & wanted]
    if not owned:
        return
    from jobs.storage.samples import Samples  # and pyarrow: not before there is something to name

    samples = Samples(plan.manifest_file(run))
    for one in sorted(owned, key=lambda one: (one.rows & wanted).first):
        for failed in _of_attempt(one, wanted):
            found = next(samples.rows(failed.row, failed.row + 1))
            told = (failed.kind, failed.message, failed.attempts, plan.table.shard_at(failed.row), found.manifest)
            yield SampleError(found.id, found.row, *told)


def _of_attempt(owned: Ownership, wanted: Spans) -> Iterator[FailedSample]:
    rows = owned.rows & wanted
    return (failed for failed in read_failed(owned.attempt.journal) if failed.row in rows)
