"""Records: the frozen facts that cross the run directory, JSON both ways.

Made by the planner (Shard, Part) and by array tasks (all others); read by resume, gather and status.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

from jobs.kinds import EndReason, FailureKind, SampleFailureKind, Unknown, known


@dataclass(frozen=True, slots=True)
class Shard:
    """A contiguous range of manifest rows ``[start, stop)``, run by one array task."""

    index: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start

    def batches(self, batch_size: int) -> range:
        """First rows of the shard's batches: a function of the plan alone, so reruns form the same batches."""
        return range(self.start, self.stop, batch_size)

    def batch_stop(self, batch_start: int, batch_size: int) -> int:
        return min(batch_start + batch_size, self.stop)

    def counted_from(self, row: int) -> "Shard":
        """The same shard, its rows counted from ``row`` on."""
        return Shard(self.index, self.start - row, self.stop - row)


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


@dataclass(frozen=True, slots=True)
class JobSpec:
    """Which Job to run: ``path`` is "module:Class", ``folder`` is put last on the import path."""

    path: str
    params: dict[str, Any] = field(default_factory=dict)
    folder: str | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """How one output of a Job is stored.

    ``shape`` is the shape of one row's value (fixed) or of one item of it (ragged). ``offset`` is the position in
    the shard file of the output's rows, or of its int64 lengths where it is ragged. ``encoding`` is "utf-8" or
    "bytes" where ragged uint8 values are strings.
    """

    name: str
    ragged: bool
    dtype: str
    shape: tuple[int, ...]
    encoding: str | None = None
    offset: int = 0

    def same_form(self, other: "Output") -> bool:
        """Whether both store the same kind of values; the offset does not matter."""
        return self._form() == other._form()

    def _form(self) -> tuple[Any, ...]:
        return self.name, self.ragged, self.dtype, self.shape, self.encoding

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in the shard file."""
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
    """An attempt took the shard. ``host``, ``pid`` and the Slurm ids say where; times are seconds since the epoch."""

    type: ClassVar[str] = "start"
    attempt: int
    submission: int
    time: float
    host: str
    pid: int
    job_id: str | None = None
    restart: int = 0
    devices: tuple[str, ...] = ()
    workers: int = 0
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return super().from_json({**data, "devices": tuple(data.get("devices", ()))})


@dataclass(frozen=True)
class AttemptEnd(Record):
    """Why an attempt ended; where it failed, with its ``kind`` of failure.

    ``ok`` and ``failed`` count the shard's samples so far, so that status needs a journal's last line alone;
    ``committed`` counts those of this attempt. What it was given (CPUs, bytes) and took follows, see supervisor/meter.py.
    """

    type: ClassVar[str] = "end"
    reason: EndReason | Unknown
    time: float
    ok: int
    failed: int
    kind: FailureKind | Unknown | None = None
    message: str = ""
    seconds: float = 0.0
    committed: int = 0
    cpus: int = 0
    memory_limit: int = 0
    peak_memory: int = 0
    cpu_seconds: float = 0.0
    gpu_use: float | None = None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        kind = data.get("kind")
        words = {"reason": known(EndReason, data["reason"]), "kind": known(FailureKind, kind) if kind else None}
        return super().from_json({**data, **words})


@dataclass(frozen=True)
class Layout(Record):
    """Names, dtypes, shapes and offsets of the outputs, fixed by the shard's first batch."""

    type: ClassVar[str] = "layout"
    outputs: tuple[Output, ...]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        outputs = (Output(**{**output, "shape": tuple(output["shape"])}) for output in data["outputs"])
        return cls(tuple(outputs))


@dataclass(frozen=True, slots=True)
class FailedSample:
    """A sample that failed for good: manifest row, kind, message, times it was tried."""

    row: int
    kind: SampleFailureKind | Unknown
    message: str
    attempts: int = 1


class Segment(NamedTuple):
    """Where the values of one ragged output of a batch lie in the values file: bytes, and their xxh3-64."""

    offset: int
    size: int
    hash: str


@dataclass(frozen=True)
class Commit(Record):
    """Rows ``[start, stop)`` are in the shard file: one batch.

    ``hashes`` has the xxh3-64 of the rows' bytes for each output; it is empty where no sample of the batch was ok.
    ``split`` says that the rows were not processed as one batch (a sample failed, or memory ran out).
    """

    type: ClassVar[str] = "commit"
    start: int
    stop: int
    hashes: dict[str, str]
    segments: dict[str, Segment] = field(default_factory=dict)
    failed: tuple[FailedSample, ...] = ()
    split: bool = False
    seconds: float = 0.0

    def counted_from(self, row: int) -> "Commit":
        """The same commit, its rows counted from ``row`` on."""
        failed = tuple(dataclasses.replace(sample, row=sample.row - row) for sample in self.failed)
        return dataclasses.replace(self, start=self.start - row, stop=self.stop - row, failed=failed)

    def to_json(self) -> dict[str, Any]:
        # Written once a batch, so without dataclasses.asdict (20 times slower) and without the empty fields.
        data: dict[str, Any] = {"type": "commit", "start": self.start, "stop": self.stop, "hashes": self.hashes}
        if self.segments:
            data["segments"] = self.segments
        if self.failed:
            data["failed"] = [[f.row, f.kind, f.message, f.attempts] for f in self.failed]
        if self.split:
            data["split"] = True
        data["seconds"] = round(self.seconds, 4)
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(
            data["start"],
            data["stop"],
            data["hashes"],
            {name: Segment(*values) for name, values in data.get("segments", {}).items()},
            tuple(
                FailedSample(row, known(SampleFailureKind, kind), *rest) for row, kind, *rest in data.get("failed", ())
            ),
            data.get("split", False),
            data.get("seconds", 0.0),
        )


@dataclass(frozen=True)
class Retry(Record):
    """The user asked for failed samples to be tried again: earlier commits that hold failures are void."""

    type: ClassVar[str] = "retry"
    time: float


RECORDS: dict[str, type[Record]] = {c.type: c for c in (AttemptStart, AttemptEnd, Layout, Commit, Retry)}
