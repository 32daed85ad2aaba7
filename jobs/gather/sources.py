"""Sources: the attempts of a run as gather and verify read them, all as they stood when first looked at."""

from collections.abc import Sequence
from functools import cached_property

from jobs.gather.commit_stream import CommitIndex, CommitStream
from jobs.storage.attempts import Attempt, Attempts, Head, by_precedence, owners, read_head
from jobs.storage.records import Commit, Output
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans


class Source:
    """An attempt; ``rank`` is its place among those that count first.

    ``owned`` are the rows for which it counts, as long as what it has of them is intact.
    """

    def __init__(self, attempt: Attempt, rank: int, owned: Spans) -> None:
        self.attempt = attempt
        self.rank = rank
        self.owned = owned

    @cached_property
    def head(self) -> Head:
        return read_head(self.attempt)

    @cached_property
    def outputs(self) -> tuple[Output, ...]:
        return self.head.layout.outputs if self.head.layout else ()

    @cached_property
    def slots(self) -> dict[str, int]:
        """Which of a batch's blocks is the first one of each output."""
        found: dict[str, int] = {}
        at = 0
        for output in self.outputs:
            found[output.name] = at
            at += 1 + output.ragged
        return found

    @cached_property
    def _sizes(self) -> list[tuple[int | None, int]]:
        """Of each block of a batch: how many bytes a row takes (None: rows differ), and how many an item."""
        found: list[tuple[int | None, int]] = []
        for output in self.outputs:
            found.append((output.row_bytes, 1))
            if output.ragged:
                found.append((None, output.item_bytes))
        return found

    def accounts_for(self, commit: Commit, stop: int) -> bool:
        """Whether a commit tells of all of a batch that ends before ``stop``: of each output, or that each sample failed."""
        rows, sizes = commit.stop - commit.start, self._sizes
        if commit.stop != stop or not all(commit.start <= sample.row < stop for sample in commit.failed):
            return False
        if not commit.blocks:
            return len(commit.failed) == rows
        if not sizes or len(commit.blocks) != len(sizes):
            return False
        for block, (row_bytes, item_bytes) in zip(commit.blocks, sizes, strict=True):
            if block.size % item_bytes if row_bytes is None else block.size != rows * row_bytes:
                return False
        return True

    def stream(self, rows: Spans) -> CommitStream:
        """Its commits of these rows."""
        return CommitStream(self.attempt.journal, self.attempt.beat.all_passages, rows)

    @cached_property
    def _index(self) -> CommitIndex:
        return CommitIndex(self.attempt.journal)

    def find(self, row: int) -> Commit | None:
        """Its commit of the batch that begins at a row; it reads the whole journal, but only once."""
        return self._index.find(row)


def read_sources(run: RunDir) -> list[Source]:
    """Those of now."""
    return sources_of(Attempts(run).read())


def sources_of(attempts: Sequence[Attempt]) -> list[Source]:
    """Those that count first come first."""
    owned = {one.attempt.name: one.rows for one in owners(attempts)}
    ranked = enumerate(by_precedence(attempts))
    return [Source(attempt, rank, owned.get(attempt.name, Spans())) for rank, attempt in ranked]
