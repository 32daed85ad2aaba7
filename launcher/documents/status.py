"""StatusDocument: how a run stands."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from jobs.kinds import RunState, ShardState
from launcher.runs.causes import Blame


class SamplesDocument(TypedDict):
    """Numbers of samples."""

    total: int
    ok: int
    failed: int
    missing: int


class ShardsDocument(TypedDict):
    """Numbers of shards."""

    total: int
    done: int
    running: int
    pending: int
    failed: int


class FailureDocument(TypedDict):
    """What failed, and what to do."""

    kind: str
    """one word in capitals"""
    message: str
    shards: list[int]
    samples: int
    """0 for what failed as a whole"""
    examples: NotRequired[list[str]]
    """ids of some of the samples"""
    blame: Blame
    advice: str
    """what to do, and what to type for it"""


class SubmittedDocument(TypedDict):
    """One submission."""

    number: int
    job_id: str | None
    """of Slurm"""
    shards: int
    cluster: NotRequired[str]
    """of several"""


class StalledDocument(TypedDict):
    """An array task that finishes nothing."""

    attempt: str
    node: str | None
    seconds: float
    """since it finished something"""
    batch_seconds: float
    """what a batch takes in this run"""


class SlowNodeDocument(TypedDict):
    """A node that is much slower than the others."""

    node: str
    samples_per_second: float
    samples_per_second_elsewhere: float


class CountDocument(TypedDict):
    """The sum of an output."""

    total: float
    per_second: float | None


class MemoryDocument(TypedDict):
    """Bytes of an array task."""

    asked: int
    peak: int
    recommended: int


class CpusDocument(TypedDict):
    """CPUs of an array task."""

    asked: int
    use: float
    """the share that computed"""


class GpusDocument(TypedDict):
    """GPUs of an array task."""

    use: float | None
    """the share of the time in which they computed"""


class MinutesDocument(TypedDict):
    """The time of array tasks."""

    longest: float
    recommended: int


class EfficiencyDocument(TypedDict):
    """What was asked for, what was used, what to ask for."""

    attempts: int
    memory: MemoryDocument
    cpus: CpusDocument
    gpus: GpusDocument
    minutes: MinutesDocument
    samples_per_second_per_task: float


class QueueDocument(TypedDict):
    """What Slurm has of the run."""

    state: str
    reason: str
    entries: int


class ManifestDocument(TypedDict):
    """One of several manifests."""

    name: str
    samples: SamplesDocument


class LinkDocument(TypedDict):
    """A run before this one."""

    run: str
    state: RunState | None
    """null: it is gone"""
    samples: NotRequired[SamplesDocument]


class WaitsDocument(TypedDict):
    """It is submitted once those before it are complete."""

    problem: str | None
    """why it could not be"""


class ChainDocument(TypedDict):
    """Of runs that come after each other."""

    after: NotRequired[list[LinkDocument]]
    blocked_by: NotRequired[str]
    waits: NotRequired[WaitsDocument]
    outdated: NotRequired[str]
    """a run before was computed again"""


class FinalizerDocument(TypedDict):
    """Who ends the run's submissions."""

    by: Literal["launcher", "job", "nobody"]
    host: NotRequired[str]
    pid: NotRequired[int]
    job_id: NotRequired[str]


class NoticeDocument(TypedDict):
    """Who was told that the run has ended."""

    time: float
    state: str
    to: str
    """the program or the server"""
    sent: bool | None
    """null: it is on its way"""
    error: str | None


class ShardDocument(TypedDict):
    """A shard."""

    shard: int
    state: ShardState
    samples: int
    ok: int
    failed: int
    kind: NotRequired[str]
    """of failure"""
    message: NotRequired[str]


class UseDocument(TypedDict):
    """What array tasks take of what they asked for."""

    cpus: float | None
    """how many are kept busy"""
    cpus_asked: int
    """0: not known"""
    memory_asked: int
    """bytes"""
    gpus: float | None
    """how many are kept busy"""
    gpus_asked: int


class AllUseDocument(UseDocument):
    """Of those that are at work, together."""

    memory: int
    """bytes"""


class ShardRowDocument(ShardDocument, UseDocument):
    """A shard, with the array task that has it, or had it last."""

    job_id: str | None
    node: str | None
    attempt: str | None
    elapsed_seconds: float | None
    memory: int | None
    """bytes"""
    samples_per_second: float | None
    slow: bool


class StatusDocument(ChainDocument):
    """How a run stands."""

    schema: Literal[1]
    run: str
    """the run directory"""
    state: RunState
    samples: SamplesDocument
    shards: ShardsDocument
    samples_per_second: float | None
    """of the newest submission, until it ends"""
    eta_seconds: float | None
    failures: list[FailureDocument]
    submissions: list[SubmittedDocument]
    attempts: int
    """starts of array tasks"""
    silent: list[str]
    """array tasks that write nothing"""
    stalled: list[StalledDocument]
    """array tasks that get nothing done"""
    slow_nodes: list[SlowNodeDocument]
    samples_in_flight: int
    """under way, of Jobs that take samples one by one"""
    counts: dict[str, CountDocument]
    """what Job.counts names"""
    other_versions: list[str]
    """versions with which something was computed, and that are not those of the plan"""
    scheduler_calls: int
    """0, with --live 1"""
    use: AllUseDocument | None
    """of the array tasks that are at work, together"""
    efficiency: EfficiencyDocument | None
    results: list[str]
    """where the results are that are written: paths, or URLs"""
    queue: NotRequired[list[QueueDocument]]
    """with --live"""
    manifests: NotRequired[list[ManifestDocument]]
    """of several"""
    in_place: NotRequired[bool]
    """results are read where they lie"""
    cleaned: NotRequired[bool]
    """the result is all that is left"""
    finalized_by: NotRequired[FinalizerDocument]
    notes: NotRequired[list[str]]
    """of those who ended submissions"""
    error: NotRequired[str]
    """why they could not go on"""
    notice: NotRequired[NoticeDocument]
    """who was told of the end"""
    shard_list: NotRequired[list[ShardRowDocument]]
    """with --shards, --failed, --running, --slow"""


Json = dict[str, Any]
"""An object whose fields are not the launcher's."""
