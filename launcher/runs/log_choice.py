"""LogChoice: which of a run's logs are meant: all, or those that hold text of some rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from jobs.kinds import ShardState
from jobs.storage.attempts import Attempt
from jobs.storage.old_run import old_log_paths
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import Submission
from launcher.runs.holders import known_claims, log_of
from launcher.runs.shard_states import ShardReader, Shards
from launcher.runs.submissions import SubmissionState, in_hand, read_submissions


class LogChoice:
    """At one moment, and ``again`` later. Without ``rows``: the logs of all.

    Logs of rows are those of the workers that had some of them. Where none had, they are in that of the worker whose range it
    is, and in the submission's own what kept that from it.
    """

    def __init__(self, run: RunDir, plan: Plan, rows: Spans | None = None, reader: ShardReader | None = None) -> None:
        """``reader``: one that has read the run already."""
        self._run = run
        self._table = plan.table
        self._is_all = rows is None
        self._rows = Spans([(0, plan.rows)]) if rows is None else rows
        self._reader = reader or ShardReader(run, plan)
        self.again()

    @classmethod
    def of(cls, run: RunDir, plan: Plan, shard: int | None = None, *, failed: bool = False) -> Self:
        """Of a shard, or those that failed (where none did, with failed samples); else all. InputError: no such shard."""
        if failed:
            reader = ShardReader(run, plan)
            shards = reader.read(read_submissions(run))
            some = shards.in_state(ShardState.FAILED) or shards.with_failures()
            return cls(run, plan, plan.table.rows_of(some.numbers), reader)
        if shard is None:
            return cls(run, plan)
        plan.check_shard(shard, run)
        return cls(run, plan, plan.table.rows_of([shard]))

    def again(self) -> None:
        self._submissions: Sequence[SubmissionState] = read_submissions(self._run)
        self._shards: Shards = self._reader.read(self._submissions)
        self._had = {
            one.number: self._who_had(one.number)
            for one in self._submissions
            if one.submission.work(self._table) & self._rows
        }

    def _who_had(self, submission: int) -> list[Attempt]:
        """A submission's attempts that had some of the rows, or have done them."""
        own = [one for one in self._shards.attempts if one.submission == submission]
        claims = known_claims(self._run, submission, own)
        names = {claim.attempt for claim in claims if Spans([(claim.start, claim.stop)]) & self._rows}
        return [one for one in own if one.name in names or one.beat.done & self._rows]

    def paths(self) -> list[Path]:
        """In the order of the submissions: what was written last stands last."""
        if self._is_all:
            own = [self._run.submission_log(known.number) for known in self._submissions]
            found = sorted([*own, *self._run.logs.glob("*.log")], key=lambda path: path.stem)
        else:
            found = self._of_rows()
        return [path for path in dict.fromkeys(found) if path.exists()]

    def _of_rows(self) -> list[Path]:
        found = old_log_paths(self._run, self._table.shards_in(self._rows))
        for known in self._submissions:
            attempts = self._had.get(known.number)
            if attempts:
                found += [log_of(self._run, attempt) for attempt in attempts]
            elif attempts is not None:
                found += [self._run.log(known.number, worker) for worker in self._owners(known.submission)]
                found.append(self._run.submission_log(known.number))
        return found

    def _owners(self, submission: Submission) -> list[int]:
        """The workers in whose ranges the rows are."""
        ranges = enumerate(submission.ranges)
        return [number % submission.workers for number, pair in ranges if Spans([pair]) & self._rows]

    def goes_on(self) -> bool:
        """Whether somebody may still write of them."""
        settled = self._shards.in_state(ShardState.DONE) | self._shards.in_state(ShardState.FAILED)
        at_it = [one for many in self._had.values() for one in many if one.name in self._shards.live]
        if not self._table.shards_in(self._rows) - settled:
            return any(map(self._is_leaving, at_it))
        return bool(at_it) or any(rows & self._rows for _, rows in in_hand(self._submissions, self._table))

    def _is_leaving(self, attempt: Attempt) -> bool:
        """Whether it has nothing left but its last words, as far as it has claimed."""
        held = Spans((one.start, one.stop) for one in attempt.beat.claims)
        given_up = self._table.rows_of(one.shard for one in attempt.beat.given_up)
        return bool(held) and not held - given_up - self._shards.closed
