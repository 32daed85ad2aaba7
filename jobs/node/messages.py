"""Messages: all that crosses the pipes between supervisor, processes and pool workers.

They are small (row ranges, slot numbers, hashes); samples travel in slots, results straight into the data files. Named
tuples, not dataclasses: these would take 6 ms of every start, and half as long again to pickle.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from jobs.kinds import FailureKind
from jobs.storage.records import Commit, FailedSample, Layout, Output


class Batch(NamedTuple):
    """Supervisor -> process: rows ``[start, stop)``, always the same rows for the same plan.

    ``failed`` are samples known to be bad; ``most`` is how many are loaded and processed at a time (0: all): fewer where
    memory is short, one where the batch killed its process.
    """

    start: int
    stop: int
    most: int = 0
    failed: tuple[FailedSample, ...] = ()


class Deal(NamedTuple):
    """Supervisor -> process: batches to do next.

    ``are_rows``: all are batches of one row, and neighbours are told together, as if they were one batch.
    """

    batches: tuple[Batch, ...]
    are_rows: bool = False

    @classmethod
    def of_rows(cls, batches: Iterable[Batch]) -> "Deal":
        """Of batches of one row."""
        joined: list[Batch] = []
        for batch in batches:
            last = joined[-1] if joined else None
            if last and last.stop == batch.start and last.most == batch.most:
                failed = last.failed + batch.failed if batch.failed else last.failed
                joined[-1] = Batch(last.start, batch.stop, last.most, failed)
            else:
                joined.append(batch)
        return cls(tuple(joined), are_rows=True)


class Allocate(NamedTuple):
    """Process -> supervisor: its first batch has outputs of these forms; asks for the run's layout."""

    outputs: tuple[Output, ...]


class Allocated(NamedTuple):
    """Supervisor -> process: the run's layout, which that batch may have made."""

    layout: Layout


class Worker(NamedTuple):
    """Supervisor -> process: pool worker ``number`` is new; its connection follows as a descriptor.

    ``batches`` repeats what is now known of the batches that the worker's predecessor may have died on.
    """

    number: int
    batches: tuple[Batch, ...] = ()


class Halt(NamedTuple):
    """Supervisor -> process: finish what is at hand within so many ``seconds``, drop the rest, answer Halted."""

    seconds: float


class Stop(NamedTuple):
    """To a process or a pool worker: tear down and exit."""


class Ready(NamedTuple):
    """Process -> supervisor: its Job is set up."""


class Hungry(NamedTuple):
    """Process -> supervisor: it takes ``room`` samples more, beside the ``unfinished`` ones that it has.

    Sent where batches do not tell how much it has to do: by a process that has many samples in flight.
    """

    unfinished: int
    room: int


class Halted(NamedTuple):
    """Process -> supervisor: nothing of mine is under way."""


class Done(NamedTuple):
    """Process -> supervisor: batches are in the process's data file."""

    commits: tuple[Commit, ...]


class Lost(NamedTuple):
    """Process -> supervisor: it can do no more and ends, while ``rows`` were in flight; no sample is at fault.

    ``kind`` is what the attempt ends as, if no other process does better.
    """

    message: str
    rows: tuple[int, ...] = ()
    kind: FailureKind = FailureKind.ERROR


class Broken(NamedTuple):
    """Process or worker -> above: the attempt cannot go on."""

    kind: FailureKind
    message: str


class Piece(NamedTuple):
    """Process -> worker: load rows ``[start, stop)`` but those in ``skip``, into slot ``slot``.

    A piece is a whole batch, a part of one, or where batches are of one row some of these. ``batch`` is the (first)
    batch's first row.
    """

    batch: int
    start: int
    stop: int
    skip: frozenset[int] = frozenset()
    slot: int = 0


class NewSlot(NamedTuple):
    """Worker -> process: slot ``number`` is a new memory of ``size`` bytes; its descriptor follows."""

    number: int
    size: int


class Placed(NamedTuple):
    """A batch in ``size`` bytes of a slot: the pickle of what is not in there, or where that is in there, too: its place."""

    pickle: bytes | tuple[int, int]
    size: int


class Loaded(NamedTuple):
    """Worker -> process: a piece is in its slot.

    ``rows`` are those that loaded (a range where none is missing: small in a pipe); ``batch`` is their collated batch,
    in the pipe as Placed: nothing of the Job's is pickled with a message, so that receiving one cannot fail for it.
    ``error`` says why there is none; ``seconds`` is how long it took.
    """

    piece: Piece
    rows: Sequence[int]
    batch: Any
    failed: tuple[FailedSample, ...]
    error: FailedSample | None = None
    seconds: float = 0.0
