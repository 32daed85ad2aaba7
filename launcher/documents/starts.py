"""Documents of what plans and submits, and of what ends or extends a run."""

from typing import NotRequired

from typing_extensions import TypedDict

from launcher.documents.status import Json


class ShardSizesDocument(TypedDict):
    """The shards of a plan."""

    total: int
    min_samples: int
    max_samples: int


class PartDocument(TypedDict):
    """One of several manifests."""

    name: str
    samples: int
    shards: int


class ColumnDocument(TypedDict):
    """A column of the manifest."""

    name: str
    type: str


class ScriptDocument(TypedDict):
    """A script that sbatch takes."""

    path: str
    text: str


class PlanDocument(TypedDict):
    """A run as it is planned."""

    run: str
    sweep: NotRequired[str]
    values: NotRequired[list[str]]
    """those that a sweep gives it"""
    is_new: bool
    """whether this command has made it"""
    fingerprint: str
    samples: int
    shards: ShardSizesDocument
    manifests: NotRequired[list[PartDocument]]
    """of several"""
    columns: list[ColumnDocument]
    id: str | None
    """the column"""
    executor: str
    profiles: dict[str, str]
    """keys that profiles set, with the line"""
    resources: list[str]
    """lines for people"""
    remarks: list[str]
    scripts: list[ScriptDocument]


class PlansDocument(TypedDict):
    """The runs of a sweep."""

    sweep: str
    runs: list[PlanDocument]


class MadeDocument(TypedDict):
    """A submission that was made."""

    number: int
    job_ids: list[str]


class StartDocument(TypedDict):
    """What was submitted."""

    run: str
    submission: int | None
    """the first one; null: nothing was to be done, or it waits"""
    shards: list[int]
    waits_for: NotRequired[str]
    """the run that has to be complete before"""
    executor: NotRequired[str]
    job_ids: NotRequired[list[str]]
    finalize_id: NotRequired[str | None]
    """the job that ends it"""
    process: NotRequired[Json | None]
    """of this machine, that ends it"""
    submissions: NotRequired[list[MadeDocument]]


class StartsDocument(TypedDict):
    """Several runs."""

    runs: list[StartDocument]


class FailedRunDocument(TypedDict):
    """A run of a sweep with which it could not be done."""

    run: str
    error: str


class SweptStartsDocument(TypedDict):
    """The runs of a sweep, each as it was submitted again."""

    sweep: str
    runs: list[StartDocument | FailedRunDocument]


class CancelDocument(TypedDict):
    """What was cancelled."""

    run: str
    cancelled: list[int]
    """numbers of submissions"""


class SweptCancelsDocument(TypedDict):
    """The runs of a sweep, each as it was cancelled."""

    sweep: str
    runs: list[CancelDocument | FailedRunDocument]


class ExtendDocument(TypedDict):
    """How a run has grown."""

    run: str
    new: int
    """samples"""
    changed: int
    """samples that are others now"""
    gone: int | None
    """samples that the manifest has no more; null: where one was named"""
    computed_again: bool
    """whether those that have changed are"""
    samples: int
    """of the run, now"""
    shards: int
