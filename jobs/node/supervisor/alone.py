"""Alone: a batch that ran out of memory, done again with all else idle, to learn whose fault it was. Used by the task.

Memory that ran out is first nobody's fault: the batch gets a small crew of its own. If that dies too, its samples are
tried one by one. A sample that runs out of memory all alone has failed; if each of them fits, the batch is done one sample
at a time. Where even that does not do, the attempt ends as OUT_OF_MEMORY: with more memory the next one goes on.
"""

from collections.abc import Callable, Sequence

from jobs.kinds import FailureKind, SampleFailureKind
from jobs.node.messages import Allocate, Allocated, Batch
from jobs.node.supervisor.crew import AttemptFailed, CommitLog, Crew, MemoryShort
from jobs.storage.records import Commit, FailedSample, Layout, Shard


class _Trial:
    """A commit_log for samples that are only tried: they are written to their rows, but not committed."""

    def __init__(self, commit_log: CommitLog) -> None:
        self._commit_log = commit_log
        self.shard: Shard = commit_log.shard

    @property
    def layout(self) -> Layout | None:
        return self._commit_log.layout

    def allocate(self, request: Allocate) -> Allocated:
        return self._commit_log.allocate(request)

    def commit(self, commits: Sequence[Commit]) -> None:
        pass

    def check(self, open_failures: int) -> None:
        pass


Step = Callable[[Crew], None]


def run_alone(new_crew: Callable[[], Crew], commit_log: CommitLog, batch: Batch, step: Step) -> None:
    """Commits the batch, or raises AttemptFailed. ``step`` drives a crew, and raises what ends the attempt."""
    short = _run(new_crew, commit_log, batch, step)
    if short is None:
        return
    guilty = _find_guilty(new_crew, commit_log, batch, short, step)
    commit_log.check(len(guilty))
    if _run(new_crew, commit_log, batch._replace(most=1, failed=(*batch.failed, *guilty)), step) is not None:
        rows = f"samples {batch.start} to {batch.stop - 1}"
        raise AttemptFailed(
            FailureKind.OUT_OF_MEMORY, f"the batch of {rows} does not fit into memory, even one sample at a time"
        )


def _run(new_crew: Callable[[], Crew], commit_log: CommitLog, batch: Batch, step: Step) -> MemoryShort | None:
    """Runs a batch with a crew of its own; returns what died where memory ran out."""
    crew = new_crew()
    try:
        crew.begin(commit_log, [batch])
        while not crew.finished:
            step(crew)
    except MemoryShort as short:
        return short
    finally:
        crew.close()
    return None


def _find_guilty(
    new_crew: Callable[[], Crew], commit_log: CommitLog, batch: Batch, short: MemoryShort, step: Step
) -> list[FailedSample]:
    """The samples that run out of memory all alone; only those are tried at which a child died."""
    known = {sample.row for sample in batch.failed}
    rows = [row for row in range(*short.rows) if row not in known]
    trial = _Trial(commit_log)
    message = "the sample alone needs more memory than the task has"
    return [
        FailedSample(row, SampleFailureKind.OUT_OF_MEMORY, message, 3)
        for row in rows
        if _run(new_crew, trial, Batch(row, row + 1), step) is not None
    ]
