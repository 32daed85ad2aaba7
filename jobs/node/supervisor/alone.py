"""Alone: a batch that ran out of memory, done again with all else idle, to learn whose fault it was.

Memory that ran out is first nobody's fault: the batch gets a small crew of its own. If that dies too, it is done half of
it at a time, then a quarter, down to one sample: each try costs a set-up, in which a model may be loaded. A sample that
runs out of memory all alone has failed. Where even that does not do, the attempt ends as OUT_OF_MEMORY: with more memory
the next one goes on.

Of many samples in flight nobody knows which one it was: half as many are from then on, until one is alone.
"""

from collections.abc import Callable, Collection, Sequence

from jobs.kinds import FailureKind, SampleFailureKind
from jobs.machine import memory
from jobs.node.messages import Allocate, Allocated, Batch
from jobs.node.supervisor.children import CrewSettings
from jobs.node.supervisor.commit_log import AttemptFailed, CommitLog
from jobs.node.supervisor.crew import Crew
from jobs.node.supervisor.deaths import MemoryShort
from jobs.storage.records import Commit, FailedSample
from jobs.storage.spans import Spans

# Each time costs a restart of all processes.
_MOST_TIMES = 3


class _NoCommits:
    """A CommitLog for a sample that is only tried: it is written, but not committed."""

    def __init__(self, commit_log: CommitLog) -> None:
        self._commit_log = commit_log

    def allocate(self, request: Allocate) -> Allocated:
        return self._commit_log.allocate(request)

    def commit(self, commits: Sequence[Commit]) -> None:
        pass

    def check(self, open_failures: Collection[int]) -> Spans:
        return Spans()

    def give_up_for_memory(self, rows: Collection[int]) -> Spans:
        return Spans()


def tell(short: MemoryShort, times: int, limit: int) -> None:
    """Says how it goes on. Raises AttemptFailed where memory ran out so often within a claim that it is plainly too small.

    ``limit``: what the task may use, bytes.
    """
    may = f"the task may use {memory.in_words(limit)}"
    if times > _MOST_TIMES:
        raise AttemptFailed(FailureKind.OUT_OF_MEMORY, f"memory ran out {times} times, last with {short}; {may}")
    way = "doing its batch with all else idle"
    if short.together > 1:
        way = f"going on with {short.together // 2} of {short.together} samples in flight"
    print(f"memory ran out ({short}; {may}): {way}", flush=True)


NewCrew = Callable[[CrewSettings], Crew]
Step = Callable[[Crew], None]
"""Drives a crew, and raises what ends the attempt."""


def recover(
    crew: Crew, short: MemoryShort, commit_log: CommitLog, new_crew: NewCrew, step: Step
) -> tuple[list[Batch], int]:
    """After memory ran out: ends the crew, has its batch done with all else idle, unless it was one of several in flight.

    Returns what is left, and how many samples at a time fit, as far as is known, where the batch did not as a whole, else 0.
    Raises AttemptFailed where the batch does not fit into memory however it is done.
    """
    left = crew.unfinished()
    crew.close()
    if short.together > 1:
        return left, short.together // 2
    start, stop = short.rows
    # Where batches are of one row a pool worker is at several of them, of which the first may be done already.
    batch = next((batch for batch in left if batch.start < stop and start < batch.stop), None)
    if batch is None:
        return left, 0
    settings = crew.settings.alone(short.device)
    fits = _run_alone(lambda: new_crew(settings), commit_log, batch, step)
    return [other for other in left if other.start != batch.start], fits


def _run_alone(new_crew: Callable[[], Crew], commit_log: CommitLog, batch: Batch, step: Step) -> int:
    """Commits the batch, unless its shard is given up; or raises AttemptFailed."""
    size = batch.stop - batch.start
    most = min(batch.most or size, size)
    known, guilty = batch.failed, list[FailedSample]()
    while (short := _run(new_crew, commit_log, batch, step)) is not None:
        if most > 1:
            most //= 2
            print(f"memory ran out again ({short}): doing its batch {most} samples at a time", flush=True)
        else:
            guilty.append(_find_guilty(new_crew, commit_log, batch, short, step))
            if batch.start in commit_log.give_up_for_memory([sample.row for sample in guilty]):
                break
        batch = batch._replace(most=most, failed=(*known, *guilty))
    # Where samples were at fault, the others may well fit together.
    return most if most < size and not guilty else 0


def _find_guilty(
    new_crew: Callable[[], Crew], commit_log: CommitLog, batch: Batch, short: MemoryShort, step: Step
) -> FailedSample:
    """The sample on which memory ran out though it was the only one, if it does so once more; else raises AttemptFailed."""
    row = short.rows[0]
    if _run(new_crew, _NoCommits(commit_log), Batch(row, row + 1), step) is None:
        rows = f"samples {batch.start} to {batch.stop - 1}"
        raise AttemptFailed(
            FailureKind.OUT_OF_MEMORY, f"the batch of {rows} does not fit into memory, even one sample at a time"
        )
    message = "the sample alone needs more memory than the task has"
    return FailedSample(row, SampleFailureKind.OUT_OF_MEMORY, message, 3)


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
