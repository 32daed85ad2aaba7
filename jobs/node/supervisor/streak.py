"""Streak: failures in a row, for one reason, after things had gone well: it is perhaps not the samples but their process.

An engine that has died behind a living process makes every sample fail that comes after. So such failures are held back; if
there are too many for bad luck, the process is replaced, once for that reason, and they are done again.
"""

import re
from collections.abc import Collection, Sequence

from jobs.kinds import SampleFailureKind
from jobs.storage.records import Commit

# Whole batches in a row, and samples at the least.
_BATCHES, _SAMPLES = 3, 16
_RAISED = SampleFailureKind.PROCESS
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+")


def reason_of(message: str) -> str:
    """What failures have in common that differ only in numbers: rows, sizes, addresses."""
    return _NUMBER.sub("#", message)


class Streak:
    """Of one process. ``known`` are the reasons for which it was replaced already: these are the samples' own."""

    def __init__(self, in_flight: int = 0) -> None:
        """``in_flight``: the samples that may fail together when something dies, where they are taken one by one.

        Then one that takes too long fails alone, and its process lives on, with an engine that may hang.
        """
        self._in_flight = in_flight
        self._own = frozenset({_RAISED, SampleFailureKind.SAMPLE_TIMEOUT} if in_flight else {_RAISED})
        self._went_well = False
        self._reason = ""
        self.held: list[Commit] = []
        self.known: set[str] = set()

    def add(self, commits: Sequence[Commit]) -> list[Commit]:
        """Takes what the process has done next; returns what counts now, in that order."""
        settled: list[Commit] = []
        for commit in commits:
            if not commit.failed:  # as mostly
                settled += self.settle() if self.held else ()
                self._went_well = True
                settled.append(commit)
                continue
            if self._tells_nothing(commit):
                settled.append(commit)
                continue
            reason = self._reason_of(commit)
            if reason is None or reason != self._reason:
                settled += self.settle()
            if reason is None or reason in self.known or not self._went_well:
                self._went_well |= reason is None
                settled.append(commit)
            else:
                self._reason = reason
                self.held.append(commit)
        return settled

    def settle(self) -> list[Commit]:
        """What was held back is the samples' own fault."""
        held, self.held, self._reason = self.held, [], ""
        return held

    def forget(self) -> None:
        """The process is gone, and what it had done is done again as far as it did not count."""
        self.held, self._reason, self._went_well = [], "", False

    @property
    def is_long(self) -> bool:
        """Whether these are too many for bad luck."""
        return self.count >= max(_SAMPLES + self._in_flight, _BATCHES * _rows(self.held[:1]))

    @property
    def is_suspicious(self) -> bool:
        """Whether these are, if no more are to come."""
        return self.count >= max(_SAMPLES, _BATCHES * _rows(self.held[:1]))

    @property
    def count(self) -> int:
        """How many samples are held back."""
        return _rows(self.held)

    def blame_process(self) -> str:
        """The process is to be replaced for this reason, once; returns it in the words of the last sample."""
        message = self.held[-1].failed[-1].message
        self.known.add(self._reason)
        self.forget()
        return message

    def _tells_nothing(self, commit: Commit) -> bool:
        """Whether no sample came to process()."""
        are_others = all(sample.kind not in self._own for sample in commit.failed)
        return are_others and len(commit.failed) == commit.stop - commit.start

    def _reason_of(self, commit: Commit) -> str | None:
        """Why all of a batch failed in process(); None where some did not, or not for one reason."""
        rows = commit.stop - commit.start
        if len(commit.failed) < rows or any(sample.kind not in self._own for sample in commit.failed):
            return None
        reasons = {reason_of(sample.message) for sample in commit.failed}
        return reasons.pop() if len(reasons) == 1 else None


def _rows(commits: Collection[Commit]) -> int:
    return sum(commit.stop - commit.start for commit in commits)
