"""The commits of one attempt: by ascending row, in the memory of a few thousand, or of any row at all.

A journal has them in the order in which they were stored. That is nearly by row within a claim, since the processes of an
attempt work side by side; and a later claim may have lower rows. The beat says where in the journal each claim begins.
"""

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jobs.storage.attempts import read_records
from jobs.storage.beats import Passage
from jobs.storage.journal import decode, read_lines
from jobs.storage.records import Commit, Commits
from jobs.storage.spans import Spans

READ_AHEAD = 4096
"""How many commits are read, at most, beyond one that does not come; each, and each failed sample, takes about a kilobyte."""


def _commits(journal: Path, start: int) -> Iterator[tuple[Commit, ...]]:
    return (record.commits for record in read_records(journal, start) if isinstance(record, Commits))


class CommitStream:
    """Gives the commits of some rows of an attempt, asked for with ascending rows."""

    def __init__(self, journal: Path, told: Sequence[Passage], rows: Spans) -> None:
        """``told`` are those of the attempt's last beat; without any, its rows are looked for from the beginning on."""
        told = told or ([Passage(rows.first, rows.stop, 0)] if rows else [])
        wanted = ((one.journal, rows.within(one.start, one.stop)) for one in told)
        passages = (_Passage(journal, begin, own) for begin, own in wanted if own)
        self._coming = sorted(passages, key=lambda passage: passage.start, reverse=True)
        self._reading: list[_Passage] = []

    def take(self, row: int) -> Commit | None:
        """The commit that begins at a row; None where it does not come soon: the journal may have it much later."""
        while self._coming and self._coming[-1].start <= row:
            self._reading.append(self._coming.pop())
        for passage in self._reading:
            if row < passage.stop and (commit := passage.take(row)):
                if commit.stop >= passage.stop:
                    # Now, not with the next row: there may be none, and thousands of attempts would keep a journal open.
                    self._reading = [one for one in self._reading if one.stop > commit.stop]
                return commit
        return None


class _Passage:
    """A journal from byte ``begin`` on, where a claim begins, read for ``rows`` of that claim.

    Several claims may have one passage, and rows of it be another's too.
    """

    def __init__(self, journal: Path, begin: int, rows: Spans) -> None:
        self.start, self.stop = rows.first, rows.stop
        self._rows = rows
        self._lines = _commits(journal, begin)
        self._waiting: dict[int, Commit] = {}
        self._weight = 0
        self._lowest = 0

    def take(self, row: int) -> Commit | None:
        waiting = self._waiting
        if self._weight >= READ_AHEAD and row > self._lowest:
            waiting = self._waiting = {start: commit for start, commit in waiting.items() if start >= row}
            self._weight = sum(map(_weight, waiting.values()))
            self._lowest = min(waiting, default=row)  # those of lower rows came from another passage
        while row not in waiting and self._weight < READ_AHEAD:
            commits = next(self._lines, None)
            if commits is None:
                break
            for commit in commits:
                if row <= commit.start and commit.start in self._rows and commit.start not in waiting:
                    waiting[commit.start] = commit
                    self._weight += _weight(commit)
        found = waiting.pop(row, None)
        self._weight -= _weight(found) if found else 0
        return found


def _weight(commit: Commit) -> int:
    return 1 + len(commit.failed)


class CommitIndex:
    """Where a journal has the commit of each batch: 16 bytes a batch. For what a CommitStream does not find."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        rows, offsets = array("q"), array("q")
        for offset, line in read_lines(journal):
            record = decode(line)
            for commit in record.commits if isinstance(record, Commits) else ():
                rows.append(commit.start)
                offsets.append(offset)
        order = np.argsort(np.frombuffer(rows, np.int64), kind="stable") if rows else np.zeros(0, np.int64)
        self._rows = np.frombuffer(rows, np.int64)[order] if rows else order
        self._offsets = np.frombuffer(offsets, np.int64)[order] if rows else order

    def find(self, row: int) -> Commit | None:
        """The first commit that begins at a row, as a CommitStream has it."""
        at = int(np.searchsorted(self._rows, row))
        if at == len(self._rows) or self._rows[at] != row:
            return None
        with self._journal.open("rb") as file:
            file.seek(int(self._offsets[at]))
            record = decode(file.readline().rstrip(b"\n"))
        commits = record.commits if isinstance(record, Commits) else ()
        return next((commit for commit in commits if commit.start == row), None)
