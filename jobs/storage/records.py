"""Records: the frozen facts that cross the run directory, JSON both ways.

Made by the planner (Part, JobSpec) and by array tasks (all others); read by take-over, gather and status.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

from jobs.kinds import SampleFailureKind, Unknown, known
from jobs.storage.spans import Spans


@dataclass(frozen=True, slots=True)
class Part:
    """Manifest rows ``[start, stop)`` that become one result.

    ``name`` is that of one of several manifests of a run; None: the run has only one, and these are all rows.
    """

    name: str | None
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start

    def own(self, rows: Spans) -> Spans:
        """Which of the manifest's rows are its own, counted from its first."""
        return Spans((start - self.start, stop - self.start) for start, stop in rows.within(self.start, self.stop))


@dataclass(frozen=True, slots=True)
class JobSpec:
    """Which Job to run: ``path`` is "module:Class".

    ``folder``, where it works, and those of ``import_from`` are put last on the import path.
    """

    path: str
    params: dict[str, Any] = field(default_factory=dict)
    folder: str | None = None
    import_from: tuple[str, ...] = ()

    @property
    def folders(self) -> tuple[str, ...]:
        """All that it puts on the import path, in their order."""
        return (*([self.folder] if self.folder else []), *self.import_from)


@dataclass(frozen=True, slots=True)
class Output:
    """How one output of a Job is stored.

    ``shape`` is the shape of one row's value (fixed) or of one item of it (ragged). ``encoding`` is "utf-8" or "bytes"
    where ragged uint8 values are strings. Of a batch it has one block, its rows; two where it is ragged: the int64
    lengths of its rows, and their values end to end.

    ``open``: so far nothing is known but that it is ragged, since all its values were empty lists; then dtype and shape
    are those that it has if there will be no others.
    """

    name: str
    ragged: bool
    dtype: str
    shape: tuple[int, ...]
    encoding: str | None = None
    open: bool = False

    def joined(self, other: "Output") -> "Output | None":
        """The form that both are of, the one with values where the other is open; None where they differ."""
        if self == other:
            return self
        if self.name != other.name or not (self.ragged and other.ragged):
            return None
        if self.open and other.encoding is None:
            return self if other.open else other
        return self if other.open and self.encoding is None else None

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in the output's first block."""
        return 8 if self.ragged else self.item_bytes

    @property
    def item_bytes(self) -> int:
        """Bytes of one row's value (fixed) or of one item of it (ragged)."""
        size = int(self.dtype[2:])
        for length in self.shape:
            size *= length
        return size

    def describe(self) -> str:
        """For messages: ``<f4 [n, 384]`` in numpy's letters, or ``<f4 ragged [*, 3]``."""
        dimensions = ", ".join(["*" if self.ragged else "n", *map(str, self.shape)])
        return f"{self.encoding or self.dtype}{' ragged' if self.ragged else ''} [{dimensions}]"


class Record:
    """Base of the journal's records: a frozen dataclass with a ``type`` tag in JSON."""

    type: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, **dataclasses.asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        return cls(**{key: value for key, value in data.items() if key in names})


@dataclass(frozen=True)
class AttemptStart(Record):
    """An attempt began: a start of an array task. Times are seconds since the epoch.

    ``index`` is the task's array index; ``worker`` says which of the submission's ranges is its own: the index, or another
    number for each node where a task has several. ``process`` is the supervisor's ProcessIdentity, by which others on its
    machine know whether it lives; ``host`` is the node by its scheduler's name; ``executable`` is its Python, ``versions`` are
    those of Python and of what computes, ``devices`` those of its processes; ``plan`` is the fingerprint of the plan,
    ``code`` that of the Job's files. ``job_id`` is what users type, ``native_id`` what the scheduler's own messages say.
    ``cpus``, ``gpus`` and ``memory`` (bytes) are what the task may use; ``deadline`` when its time is over, as far as
    it was told. ``generation`` is that of the plan that it read: how often that had grown.
    """

    type: ClassVar[str] = "start"
    submission: int
    index: int
    worker: int
    time: float
    host: str
    process: dict[str, Any]
    job_id: str | None = None
    restart: int = 0
    devices: tuple[str, ...] = ()
    workers: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    code: str = ""
    plan: str = ""
    native_id: str | None = None
    memory: int = 0
    deadline: float | None = None
    executable: str = ""
    generation: int = 1
    cpus: int = 0
    gpus: int = 0

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return super().from_json({**data, "devices": tuple(data.get("devices", ()))})


@dataclass(frozen=True)
class Layout(Record):
    """Names, dtypes and shapes of the outputs, fixed by the run's first batch; the blocks of a batch come in this order."""

    type: ClassVar[str] = "layout"
    outputs: tuple[Output, ...]

    def to_json(self) -> dict[str, Any]:
        outputs = [dataclasses.asdict(output) for output in self.outputs]
        for output in outputs:
            if not output["open"]:
                del output["open"]
        return {"type": self.type, "outputs": outputs}

    @property
    def is_open(self) -> bool:
        return any(output.open for output in self.outputs)

    def joined(self, others: Sequence[Output]) -> "Layout | None":
        """The layout with what others know of what is open here; None where they differ."""
        known = {output.name: output for output in others}
        if known.keys() != {output.name for output in self.outputs}:
            return None
        found = [output.joined(known[output.name]) for output in self.outputs]
        outputs = tuple(output for output in found if output)
        return Layout(outputs) if len(outputs) == len(found) else None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        names = {f.name for f in dataclasses.fields(Output)}
        known_only = ({k: v for k, v in output.items() if k in names} for output in data["outputs"])
        return cls(tuple(Output(**{**output, "shape": tuple(output["shape"])}) for output in known_only))


@dataclass(frozen=True)
class DataFile(Record):
    """File ``number`` of the attempt, as its blocks name it; ``name`` is relative to the folder of the journal."""

    type: ClassVar[str] = "file"
    number: int
    name: str


@dataclass(frozen=True, slots=True)
class FailedSample:
    """A sample that failed for good: manifest row, kind, message, times it was tried."""

    row: int
    kind: SampleFailureKind | Unknown
    message: str
    attempts: int = 1


class Block(NamedTuple):
    """Where the bytes of a block of a batch lie: in which file of the attempt, and their xxh3-64 in hex."""

    file: int
    offset: int
    size: int
    hash: str


class Commit(NamedTuple):
    """Rows ``[start, stop)`` are stored: one batch.

    ``blocks`` are in the layout's order; there are none where no sample of the batch was ok. ``split`` says that the rows
    were not processed as one batch (a sample failed, or memory ran out). ``seconds`` are those of Job.process, ``load_seconds``
    those of loading, ``counts`` sums of outputs that the Job counts; of these two the journal tells in its beats alone.
    """

    start: int
    stop: int
    blocks: tuple[Block, ...] = ()
    failed: tuple[FailedSample, ...] = ()
    split: bool = False
    seconds: float = 0.0
    counts: tuple[tuple[str, float], ...] = ()
    load_seconds: float = 0.0

    def counted_from(self, row: int) -> "Commit":
        """The same commit, its rows counted from ``row`` on."""
        failed = tuple(dataclasses.replace(sample, row=sample.row - row) for sample in self.failed)
        return self._replace(start=self.start - row, stop=self.stop - row, failed=failed)

    def to_json(self) -> list[Any]:
        """[start, stop, seconds, files, offsets, sizes, hashes, failed, split], without what is empty at the end.

        ``files`` and ``offsets`` are one number each where the blocks lie one after another in one file, as they do but
        for what an older version wrote.
        """
        start, stop, blocks, failed, split, seconds = self[:6]
        files: int | list[int] = []
        offsets: int | list[int] = []
        if blocks and _lie_together(blocks):
            files, offsets, _, _ = blocks[0]
        elif blocks:
            files, offsets = [block.file for block in blocks], [block.offset for block in blocks]
        sizes, hashes = [block[2] for block in blocks], [block[3] for block in blocks]
        data: list[Any] = [start, stop, round(seconds, 4), files, offsets, sizes, hashes]
        if failed or split:
            data += [[[f.row, f.kind, f.message, f.attempts] for f in failed], split]
        return data

    @classmethod
    def from_json(cls, data: list[Any]) -> "Commit":
        start, stop, seconds, files, offsets, sizes, hashes, *rest = data
        if isinstance(offsets, int):  # a million of these are read: so one loop, and no iterators
            blocks = []
            for size, digest in zip(sizes, hashes, strict=True):
                blocks.append(Block(files, offsets, size, digest))
                offsets += size
        else:
            blocks = list(map(Block, files, offsets, sizes, hashes))
        if not rest:
            return cls(start, stop, tuple(blocks), (), False, seconds)
        failed, split = rest
        samples = tuple(FailedSample(row, known(SampleFailureKind, kind), *more) for row, kind, *more in failed)
        return cls(start, stop, tuple(blocks), samples, split, seconds)


def _lie_together(blocks: Sequence[Block]) -> bool:
    first, end = blocks[0].file, blocks[0].offset
    for file, offset, size, _ in blocks:  # a journal has millions of these
        if file != first or offset != end:
            return False
        end += size
    return True


@dataclass(frozen=True)
class Commits(Record):
    """Batches that are stored; durable once a beat that comes after it says that their rows are done."""

    type: ClassVar[str] = "commits"
    commits: tuple[Commit, ...]

    def to_json(self) -> dict[str, Any]:
        # Written for every few batches, so without dataclasses.asdict (20 times slower).
        return {"type": self.type, "commits": [commit.to_json() for commit in self.commits]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(tuple(map(Commit.from_json, data["commits"])))
