"""Messages: all that crosses the pipes between supervisor, processes and pool workers.

They are small (row ranges, slot numbers, hashes); samples travel in slots, results straight into the shard file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.storage.records import Commit, FailedSample, Layout, Output, Shard


@dataclass(frozen=True, slots=True)
class Batch:
    """Supervisor -> process: rows ``[start, stop)``, always the same rows for the same plan.

    ``failed`` are samples known to be bad; ``most`` is how many are loaded and processed at a time (0: all): fewer where
    memory is short, one where the batch killed its process.
    """

    start: int
    stop: int
    most: int = 0
    failed: tuple[FailedSample, ...] = ()


@dataclass(frozen=True, slots=True)
class Deal:
    """Supervisor -> process: batches to do next."""

    batches: tuple[Batch, ...]


@dataclass(frozen=True, slots=True)
class OpenShard:
    """Supervisor -> process: the batches that follow are of this shard; ``layout`` is None before its first batch."""

    shard: Shard
    layout: Layout | None


@dataclass(frozen=True, slots=True)
class Place:
    """Process -> supervisor: asks where to write outputs of these forms; ``sizes`` are the ragged ones' bytes."""

    outputs: tuple[Output, ...]
    sizes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Placed:
    """Supervisor -> process: the shard's layout, and where the ragged values go in their files (bytes)."""

    layout: Layout
    ends: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Worker:
    """Supervisor -> process: pool worker ``index`` is new; its connection follows as a descriptor.

    ``batches`` repeats what is now known of the batches that the worker's predecessor may have died on.
    """

    index: int
    batches: tuple[Batch, ...] = ()


@dataclass(frozen=True, slots=True)
class Halt:
    """Supervisor -> process: finish the piece at hand, drop the rest, answer Halted."""


@dataclass(frozen=True, slots=True)
class Stop:
    """To a process or a pool worker: tear down and exit."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Process -> supervisor: its Job is set up."""


@dataclass(frozen=True, slots=True)
class Halted:
    """Process -> supervisor: nothing of mine is under way."""


@dataclass(frozen=True, slots=True)
class Done:
    """Process -> supervisor: a batch is in the shard file."""

    commit: Commit


@dataclass(frozen=True, slots=True)
class Broken:
    """Process or worker -> above: the attempt cannot go on; a failure kind and its message."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Process -> worker: load rows ``[start, stop)`` but those in ``skip``, into slot ``slot``.

    A piece is a whole batch, or a part of one that is being retried. ``batch`` is the batch's first row.
    """

    batch: int
    start: int
    stop: int
    skip: frozenset[int] = field(default_factory=frozenset)
    slot: int = 0


@dataclass(frozen=True, slots=True)
class NewSlot:
    """Worker -> process: slot ``index`` is a new memory of ``size`` bytes; its descriptor follows."""

    index: int
    size: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """Worker -> process: a piece is in its slot.

    ``rows`` are those that loaded; ``batch`` is their collated batch with arrays replaced by places in the slot;
    ``error`` says why collating failed.
    """

    piece: Piece
    rows: tuple[int, ...]
    batch: Any
    failed: tuple[FailedSample, ...]
    error: FailedSample | None = None
