"""Logs: the text that array tasks wrote, one file a worker, all its attempts at all shards that it had."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

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

_TAIL = 4096
_PIECE = 1 << 16
_TICK = 0.25
# Seconds between looks at who works on the shard: that reads something of every attempt.
_LOOK = 2.0


def last_words(path: Path) -> str:
    """The last line of a log that says something; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def log_paths(run: RunDir, shard: int) -> list[Path]:
    """The logs that hold text of a shard: those of the workers that had some of its rows.

    Where none had, it is in that of the worker whose range it is, and in the submission's own what kept that from it.
    """
    return _Look(run, shard).paths()


def read_log(run: RunDir, shard: int, *, follow: bool = False) -> Iterator[tuple[Path, bytes]]:
    """The shard's logs, in pieces, each with the file that it is of.

    With ``follow`` also what is appended, until the shard is done or nobody runs it.
    """
    offsets: dict[Path, int] = {}
    look, looked = _Look(run, shard), time.monotonic()
    while True:
        is_last = not (follow and look.goes_on())
        for path in look.paths():
            with path.open("rb") as file:
                file.seek(offsets.get(path, 0))
                while piece := file.read(_PIECE):
                    yield path, piece
                offsets[path] = file.tell()
        if is_last:
            return
        time.sleep(_TICK)
        if time.monotonic() - looked > _LOOK:
            look.again()
            looked = time.monotonic()


class _Look:
    """A shard at one moment, and again later."""

    def __init__(self, run: RunDir, shard: int) -> None:
        plan = Plan.read(run.plan)
        self._run = run
        self._shard = shard
        self._table = plan.table
        self._rows = plan.table.rows_of([shard])
        self._reader = ShardReader(run, plan)
        self.again()

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
        found = [*old_log_paths(self._run, self._shard)]
        for known in self._submissions:
            attempts = self._had.get(known.number)
            if attempts:
                found += [log_of(self._run, attempt) for attempt in attempts]
            elif attempts is not None:
                found += [self._run.log(known.number, worker) for worker in self._owners(known.submission)]
                found.append(self._run.submission_log(known.number))
        return [path for path in dict.fromkeys(found) if path.exists()]

    def _owners(self, submission: Submission) -> list[int]:
        """The workers in whose ranges the rows are."""
        ranges = enumerate(submission.ranges)
        return [number % submission.workers for number, pair in ranges if Spans([pair]) & self._rows]

    def goes_on(self) -> bool:
        """Whether somebody may still write of the shard."""
        state = self._shards.state(self._shard)
        at_it = [one for many in self._had.values() for one in many if one.name in self._shards.live]
        if state in (ShardState.DONE, ShardState.FAILED):
            return any(map(self._is_leaving, at_it))
        return bool(at_it) or any(rows & self._rows for _, rows in in_hand(self._submissions, self._table))

    def _is_leaving(self, attempt: Attempt) -> bool:
        """Whether it has nothing left but its last words, as far as it has claimed."""
        held = Spans((one.start, one.stop) for one in attempt.beat.claims)
        given_up = self._table.rows_of(one.shard for one in attempt.beat.given_up)
        return bool(held) and not held - given_up - self._shards.closed
