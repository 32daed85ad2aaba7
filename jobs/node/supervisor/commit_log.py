"""CommitLog: where a crew's results go: the journal of an attempt, or the caller of a Hierarchy."""

from collections.abc import Collection, Sequence
from typing import Protocol

from jobs.kinds import FailureKind
from jobs.node.messages import Allocate, Allocated
from jobs.storage.records import Commit
from jobs.storage.spans import Spans


class AttemptFailed(Exception):
    """The attempt cannot go on."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class CommitLog(Protocol):
    """Kept by who starts the crew."""

    def allocate(self, request: Allocate) -> Allocated:
        """The layout for a process that has its first batch."""

    def commit(self, commits: Sequence[Commit]) -> None:
        """Takes note of batches that a process has stored."""

    def check(self, open_failures: Collection[int]) -> Spans:
        """The rows that are not worth doing any more because too many samples failed, as far as it is new.

        ``open_failures`` are rows of samples that failed and are not committed yet. Raises AttemptFailed where nothing is.
        """

    def give_up_for_memory(self, rows: Collection[int]) -> Spans:
        """The rows that are not worth doing with the memory there is: these samples of them need more, and may not fail."""
