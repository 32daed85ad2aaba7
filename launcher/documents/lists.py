"""Documents of several runs: how each stands."""

from typing import NotRequired

from typing_extensions import TypedDict

from launcher.documents.status import StatusDocument


class OwnDocument(TypedDict):
    """What a list tells of a run beside its status."""

    name: str
    changed: float
    """seconds since 1970: when it was planned, submitted, or ended"""
    owner: str
    set_aside: bool
    """whether `--fresh` has put it beside the run that has its name now"""
    size: int | None
    """bytes of all that is in its folder, with --size"""


class ListedDocument(StatusDocument, OwnDocument):
    """A run of a list, and how it stands."""


class UnreadableDocument(OwnDocument):
    """A run of a list that cannot be read."""

    run: str
    error: str


class ListDocument(TypedDict):
    """The runs of a folder, or of a sweep."""

    sweep: NotRequired[str]
    runs: list[ListedDocument | UnreadableDocument]
    """one that cannot be read has `error` in the place of how it stands"""


class RunsDocument(TypedDict):
    """Several runs."""

    runs: list[StatusDocument]
