"""Beat: the record that says what an attempt has made durable so far, and how it stands, with what it repeats of its claims."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

from jobs.kinds import EndReason, FailureKind, Unknown, known
from jobs.storage.durations import Durations
from jobs.storage.records import Record
from jobs.storage.sample_failures import SampleFailures
from jobs.storage.spans import Spans

_NOTHING = (0.0, ())


@dataclass(frozen=True)
class Held:
    """A claim as a beat repeats it: number ``claim`` of range ``range``, its rows, and how long the journal was then, bytes."""

    range: int
    claim: int
    start: int
    stop: int
    journal: int


class Passage(NamedTuple):
    """Where in the journal the commits begin of some claims that are done, bytes; all their rows lie in ``[start, stop)``."""

    start: int
    stop: int
    journal: int


@dataclass(frozen=True)
class GivenUp:
    """A shard that this attempt will not go on with; what is done of it stays."""

    shard: int
    kind: FailureKind | Unknown
    message: str


@dataclass(frozen=True)
class Beat(Record):
    """What an attempt has made durable so far, and how it stands; the last one counts, and nothing that comes after it.

    ``done`` are the rows whose commits stand before it in the journal and whose bytes are on disk; ``ok`` and ``failed``
    count their samples, ``shared`` the failed ones of each shard that the attempt has not all to itself. ``advanced`` is
    when ``done`` last grew. ``claims`` are those that it has not done with, ``passages`` are of the others, a limited number:
    every beat repeats them. ``begun`` is the row that it deals next: of the rows of its claims before that, all that are
    not done are in work. ``rate`` is rows a second, lately; ``setup`` is how long its processes took to be ready, seconds.
    ``log`` is the length of its log. ``failures`` are its failed samples by cause. ``memory`` is what its processes took
    together when it last looked, bytes; ``quiet`` for how many seconds it had work and finished nothing. ``in_flight`` are
    the samples that were under way then, where they are taken one by one; ``counts`` sums of outputs that the Job counts.
    ``busy_cpus`` is how many CPUs were kept busy lately, ``busy_gpus`` the share of time in which GPUs computed, where known.
    ``load``, ``process`` and ``both`` say how long its samples took, each an equal share of its batch. ``taken``: where samples
    are those of a run that goes on, the rows that it has taken from that, by the submission there that had done them.

    ``end`` says why it ended, with the ``kind`` of failure; what it was given (CPUs, bytes) and took follows, see
    node/supervisor/meter.py.
    """

    type: ClassVar[str] = "beat"
    number: int
    time: float
    done: Spans = field(default_factory=Spans)
    ok: int = 0
    failed: int = 0
    advanced: float = 0.0
    claims: tuple[Held, ...] = ()
    begun: int = 0
    rate: float = 0.0
    setup: float = 0.0
    log: int = 0
    given_up: tuple[GivenUp, ...] = ()
    shared: Mapping[int, int] = field(default_factory=dict)
    failures: tuple[SampleFailures, ...] = ()
    end: EndReason | Unknown | None = None
    kind: FailureKind | Unknown | None = None
    message: str = ""
    seconds: float = 0.0
    cpus: int = 0
    memory_limit: int = 0
    peak_memory: int = 0
    cpu_seconds: float = 0.0
    gpu_use: float | None = None
    passages: tuple[Passage, ...] = ()
    memory: int = 0
    quiet: float = 0.0
    load: Durations = field(default_factory=Durations)
    process: Durations = field(default_factory=Durations)
    both: Durations = field(default_factory=Durations)
    gpu_memory: int = 0
    gpu_memory_limit: int = 0
    energy: float | None = None
    in_flight: int = 0
    counts: Mapping[str, float] = field(default_factory=dict)
    busy_cpus: float | None = None
    busy_gpus: float | None = None
    taken: Mapping[int, Spans] = field(default_factory=dict)

    @property
    def all_passages(self) -> tuple[Passage, ...]:
        """Of all its claims."""
        return (*self.passages, *(Passage(held.start, held.stop, held.journal) for held in self.claims))

    def to_json(self) -> dict[str, Any]:
        lists = {
            "done": list(self.done),
            "claims": [list(vars(held).values()) for held in self.claims],  # without names: every beat repeats them all
            "given_up": [list(vars(one).values()) for one in self.given_up],
            "shared": list(self.shared.items()),
            "failures": [group.to_json() for group in self.failures],
            "load": self.load.to_json(),
            "process": self.process.to_json(),
            "both": self.both.to_json(),
            "taken": [[number, list(rows)] for number, rows in self.taken.items()],
        }
        return {"type": self.type, **vars(self), **lists}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        kind, end = data["kind"], data["end"]
        return super().from_json(
            {
                **data,
                "done": Spans(map(tuple, data["done"])),
                "claims": tuple(Held(*held) for held in data["claims"]),
                "passages": tuple(Passage(*one) for one in data.get("passages", ())),
                "given_up": tuple(
                    GivenUp(shard, known(FailureKind, kind), message) for shard, kind, message in data["given_up"]
                ),
                "shared": dict(data["shared"]),
                "failures": tuple(map(SampleFailures.from_json, data["failures"])),
                "load": Durations.from_json(data.get("load", _NOTHING)),
                "process": Durations.from_json(data.get("process", _NOTHING)),
                "both": Durations.from_json(data.get("both", _NOTHING)),
                "taken": {number: Spans(map(tuple, rows)) for number, rows in data.get("taken", ())},
                "end": known(EndReason, end) if end else None,
                "kind": known(FailureKind, kind) if kind else None,
            }
        )
