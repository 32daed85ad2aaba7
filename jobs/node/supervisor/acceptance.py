"""Acceptance: what a crew's processes have done, and whether it counts: failures may be the process's own, see Streak."""

import time
from collections.abc import Iterator, Sequence

from jobs.node.supervisor.commit_log import CommitLog
from jobs.node.supervisor.dealer import Dealer
from jobs.node.supervisor.losses import Losses
from jobs.node.supervisor.streak import Streak
from jobs.storage.records import Commit


class Acceptance:
    """``in_flight``: the samples that a process has under way at a time, where it takes them one by one."""

    def __init__(self, commit_log: CommitLog, dealer: Dealer, losses: Losses, in_flight: int) -> None:
        self._commit_log = commit_log
        self._dealer = dealer
        self._losses = losses
        self._in_flight = in_flight
        self._streaks: dict[int, Streak] = {}

    def take(self, process: int, commits: Sequence[Commit]) -> str | None:
        """Batches that a process has done; returns why it is to be replaced, if it is."""
        streak = self._streaks.get(process)
        if streak is None:
            streak = self._streaks[process] = Streak(self._in_flight if self._dealer.is_asking(process) else 0)
        self._settle(process, streak.add(commits))
        if not streak.held:
            return None
        self._dealer.hold(process, streak.held)
        return streak.blame_process() if streak.is_long else None

    def settle_idle(self) -> Iterator[tuple[int, str]]:
        """Decides about processes that will say no more, whoever had the rest; tells which are to be replaced, and why."""
        for process, streak in self._streaks.items():
            if streak.held and self._dealer.is_idle(process):
                if streak.is_suspicious:
                    yield process, streak.blame_process()
                else:
                    self._settle(process, streak.settle())

    def _settle(self, process: int, commits: Sequence[Commit]) -> None:
        if not commits:
            return
        self._commit_log.commit(commits)
        self._dealer.done(process, commits, time.monotonic())
        if any(len(commit.failed) < commit.stop - commit.start for commit in commits):
            self._losses.went_well(process)

    def forget(self, process: int) -> None:
        """It is gone: what it had done and does not count is done again."""
        if process in self._streaks:
            self._streaks[process].forget()
