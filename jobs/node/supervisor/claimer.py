"""Claimer: what a task is to work on next: its own ranges of the submission, then those that nobody has claimed."""

from collections.abc import Iterator

from jobs.storage.attempts import Attempt, Attempts
from jobs.storage.claims import Claim, ClaimFolder
from jobs.storage.plans import Plan, Submission
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans, union


class Claimer:
    """Of one attempt."""

    def __init__(self, run: RunDir, plan: Plan, submission: Submission, worker: int, attempt: str) -> None:
        self._folder = ClaimFolder(run.claims(submission.number))
        self._attempts = Attempts(run, submission.number)
        self._plan = plan
        self._submission = submission
        self._worker = worker
        self._name = attempt
        self._seen: list[Attempt] = []

    def next(self, rate: float, setup: float) -> Claim | float | None:
        """A claim to work on; seconds to wait before asking again; None: leave."""
        self._seen = self._attempts.read()
        return next((claim for claim in self._offers() if self._folder.take(claim)), None)

    def _offers(self) -> Iterator[Claim]:
        count = len(self._submission.ranges)
        own = range(self._worker, count, self._submission.workers)
        taken = {claim.range for claim in self._folder.read()}
        for number in (*own, *(number for number in range(count) if number not in taken)):
            if number not in taken:
                yield Claim(number, 1, self._name, *self._submission.ranges[number])

    def rows(self, claim: Claim) -> Spans:
        """Of the claim: still mine, in the work, not closed by any attempt of this submission."""
        work = self._submission.work(self._plan.table).within(claim.start, claim.stop)
        return work - union(attempt.beat.done for attempt in self._seen)

    def taken_from(self, claim: Claim) -> int | None:
        """The first row from which on rows are another's now."""
        return claim.stop

    def seen(self) -> list[Attempt]:
        """The attempts of this submission as last read."""
        return self._seen

    def all_done(self) -> bool:
        """Whether all rows of the submission are closed."""
        return not self._submission.work(self._plan.table) - union(attempt.beat.done for attempt in self._seen)
