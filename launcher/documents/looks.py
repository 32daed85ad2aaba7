"""Documents of commands that look into a run: its failed samples, logs, events, metrics, report."""

from typing import Literal, NotRequired, TypeAlias

from typing_extensions import TypedDict

from launcher.documents.status import Json


class ErrorDocument(TypedDict):
    """A failed sample."""

    id: str
    row: int
    kind: str
    """one word in capitals"""
    message: str
    attempts: int
    shard: NotRequired[int]
    """of a run, not of a result alone"""
    manifest: NotRequired[str]
    """of several"""


class ErrorsDocument(TypedDict):
    """The failed samples of a run or a result."""

    run: str
    errors: list[ErrorDocument]


class LogsDocument(TypedDict):
    """What array tasks have written."""

    run: str
    shard: NotRequired[int | None]
    """which one; null: of all, or of what failed"""
    sample: NotRequired[str]
    """with --sample"""
    rows: NotRequired[list[int]]
    """with --sample: its rows"""
    files: list[str]
    text: str


class ReportDocument(TypedDict):
    """A report that was written."""

    report: str
    """the file"""
    bytes: int


class MetricDocument(TypedDict):
    """A number."""

    name: str
    """as in the text form"""
    labels: dict[str, str]
    value: float


class MetricsDocument(TypedDict):
    """How runs stand, as numbers."""

    metrics: list[MetricDocument]


class PlannedEvent(TypedDict):
    """The run was planned."""

    event: Literal["planned"]
    time: float
    """seconds since 1970"""
    run: str
    samples: int
    shards: int
    plan: str
    """its fingerprint"""


class SubmittedEvent(TypedDict):
    """A submission was given to its executor."""

    event: Literal["submitted"]
    time: float
    submission: int
    samples: int
    array_tasks: int
    executor: str
    job_ids: list[str]
    options: Json
    """of a retry: what it asks for beyond the config"""


class SubmissionEndedEvent(TypedDict):
    """A submission has ended."""

    event: Literal["submission-ended"]
    time: float
    submission: int
    cancelled: bool
    error: str | None
    notes: list[str]


class AttemptStartedEvent(TypedDict):
    """An array task has begun."""

    event: Literal["attempt-started"]
    time: float
    submission: int
    attempt: str
    worker: int
    host: str
    job_id: str | None
    restart: int
    devices: list[str]
    cpus: int
    gpus: int
    memory: int
    """bytes that it may use"""


class CommittedEvent(TypedDict):
    """An array task has stored samples."""

    event: Literal["committed"]
    time: float
    submission: int
    attempt: str
    samples: int
    """since the last one"""
    rows: str
    ok: int
    """so far"""
    failed: int
    """so far"""
    samples_per_second: float
    memory: int
    """bytes"""


class GivenUpDocument(TypedDict):
    """A shard that an array task gave up."""

    shard: int
    kind: str
    message: str


class AttemptEndedEvent(TypedDict):
    """An array task has ended, and could say so."""

    event: Literal["attempt-ended"]
    time: float
    submission: int
    attempt: str
    end: str
    """done, stopped, failed"""
    kind: str | None
    """of failure"""
    message: str
    ok: int
    failed: int
    seconds: float
    cpu_seconds: float
    peak_memory: int
    """bytes"""
    gpu_use: float | None
    energy: float | None
    """of its GPUs, joules"""
    given_up: list[GivenUpDocument]


class GatheredEvent(TypedDict):
    """A result was written."""

    event: Literal["gathered"]
    time: float
    path: str
    seal: str | None
    bytes: int


Event: TypeAlias = (
    PlannedEvent
    | SubmittedEvent
    | AttemptStartedEvent
    | CommittedEvent
    | AttemptEndedEvent
    | SubmissionEndedEvent
    | GatheredEvent
)


class EventsDocument(TypedDict):
    """What has happened to a run, in the order of time."""

    run: str
    events: list[Event]
    """as `launcher events` prints them, an object each"""
