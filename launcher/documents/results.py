"""Documents of commands that make, check or remove results."""

from typing import NotRequired

from typing_extensions import TypedDict

from jobs.storage.growth import Growth
from launcher.documents.starts import FailedRunDocument
from launcher.documents.status import SamplesDocument


class GatheredDocument(TypedDict):
    """A result that was written."""

    result: str
    """a path, or a URL"""
    complete: bool
    samples: SamplesDocument
    bytes: int
    files: int
    damaged: list[str]
    """rows that were left out, with why"""


class GatheredPartDocument(GatheredDocument):
    """That of one of several manifests."""

    name: str


class GatherDocument(GatheredDocument):
    """The result of a run."""

    run: str
    manifests: NotRequired[list[GatheredPartDocument]]
    """of several"""


class VerifiedDocument(TypedDict):
    """What was checked."""

    ok: bool
    shards: int
    batches: int
    damaged: list[str]
    result: str | None
    """null: there is none yet"""
    result_problems: list[str]
    rows_by_code: dict[str, str]
    """rows by the fingerprint of the code that computed them"""


class VerifiedPartDocument(VerifiedDocument):
    """That of one of several manifests."""

    name: str


class VerifyDocument(VerifiedDocument):
    """What a run has stored, against its journals."""

    run: str
    manifests: NotRequired[list[VerifiedPartDocument]]
    """of several"""
    extended: NotRequired[list[Growth]]
    """when it has grown"""
    cleaned: bool
    """the result is all that is left"""


class SweptResultsDocument(TypedDict):
    """The runs of a sweep, each with its result."""

    sweep: str
    runs: list[GatherDocument | FailedRunDocument]


class SweptChecksDocument(TypedDict):
    """The runs of a sweep, each as it was checked."""

    sweep: str
    runs: list[VerifyDocument | FailedRunDocument]


class ExportDocument(TypedDict):
    """A result in the format of another program."""

    export: str
    """the folder, or URL"""
    format: str
    rows: int
    bytes: int
    complete: bool


class FreedDocument(TypedDict):
    """What a run does not need."""

    run: str
    files: int
    bytes: int


class CleanDocument(TypedDict):
    """What was removed, or could be."""

    removed: bool
    runs: list[FreedDocument]
