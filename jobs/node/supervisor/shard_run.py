"""ShardRun: one attempt at one shard, as far as it touches the disk: resume, layout, commits, syncs, the end.

The supervisor is the journal's only writer. The order of things is what makes kills harmless: rows are in the file
before their commit is in the journal, and both are synced before the shard file gets its final name.
"""

import dataclasses
import os
import platform
import time
from collections.abc import Mapping, Sequence

import numpy as np

from jobs.errors import DamageError
from jobs.kinds import EndReason, FailureKind
from jobs.machine import allocation
from jobs.node.messages import Allocate, Allocated, Batch
from jobs.node.supervisor.crew import AttemptFailed
from jobs.node.supervisor.meter import Usage
from jobs.storage.files import rename_synced
from jobs.storage.journal import Journal, replay
from jobs.storage.plans import Plan, Submission
from jobs.storage.records import AttemptEnd, AttemptStart, Commit, Layout, Retry, Shard
from jobs.storage.rundir import RunDir
from jobs.storage.shard_file import ShardFile, create_shard_file

# status reads an end record from the last 4096 bytes of a journal.
_MESSAGE_CHARACTERS = 1000


class ShardRun:
    """A shard being run by this process; opening it takes the shard's lock or raises BusyError."""

    def __init__(self, run: RunDir, plan: Plan, submission: Submission, shard: Shard) -> None:
        self.shard = shard
        self._run = run
        self._plan = plan
        self._submission = submission
        self._journal = Journal(run.journal(shard.index))
        self._history = replay(run.journal(shard.index))
        self._started = time.time()
        self.committed = 0
        self._file: ShardFile | None = None
        self._ends: dict[str, int] = {}
        self._unsynced = False
        self._synced_at = time.monotonic()

    # --- start

    def begin(self, devices: tuple[str, ...], environment: Mapping[str, str] = os.environ) -> list[Batch]:
        """Journals the start; returns the batches to do: those without an intact commit, the same in every attempt."""
        number = self._submission.number
        known = {attempt.start.submission for attempt in self._history.attempts}
        if self._submission.retry_failed and number not in known:
            self._append(Retry(time.time()))
        self._append(self._start_record(devices, environment))
        self._open_file()
        size = self._plan.batch_size
        starts = [start for start in self.shard.batches(size) if start not in self._history.commits]
        return [Batch(start, self.shard.batch_stop(start, size)) for start in starts]

    def _start_record(self, devices: tuple[str, ...], environment: Mapping[str, str]) -> AttemptStart:
        return AttemptStart(
            attempt=len(self._history.attempts) + 1,
            submission=self._submission.number,
            time=self._started,
            host=allocation.host(environment),
            pid=os.getpid(),
            job_id=allocation.job_id(environment),
            restart=allocation.restarts(environment),
            devices=devices,
            workers=self._submission.node.workers,
            versions={"python": platform.python_version(), "numpy": np.__version__},
        )

    def _open_file(self) -> None:
        """Opens the part file of earlier attempts and forgets commits whose bytes are not there any more."""
        layout = self._history.layout
        if layout is None:
            return
        path = self._run.shard_part(self.shard.index)
        if not path.exists():
            for start in list(self._history.commits):
                self._history.forget(start)
            if create_shard_file(path, self.shard, layout.outputs) != layout:
                raise DamageError(f"{path} is gone and cannot be made again as it was; remove {self._journal_path()}")
        self._file = ShardFile.open(self._run, self.shard, layout, write=True)
        self._ends = self._file.value_ends()
        damaged = [start for start, commit in self._history.commits.items() if self._file.damaged(commit)]
        for start in damaged:
            self._history.forget(start)
        if damaged:
            print(f"shard {self.shard.index}: {len(damaged)} batches are not on disk as committed; doing them again")

    def _journal_path(self) -> str:
        return str(self._run.journal(self.shard.index))

    # --- on the way

    @property
    def layout(self) -> Layout | None:
        return self._history.layout

    @property
    def ok(self) -> int:
        return self._history.ok

    @property
    def failed(self) -> int:
        return self._history.failed

    @property
    def attempt(self) -> int:
        return len(self._history.attempts)

    def check(self, open_failures: int) -> None:
        """Raises AttemptFailed where more samples failed than may."""
        failed = self.failed + open_failures
        budget = self._submission.node.failure_budget(self.shard.rows)
        if failed <= budget:
            return
        messages = {sample.message for sample in self._history.failed_samples}
        if self.ok == 0 and len(messages) == 1:
            raise AttemptFailed(FailureKind.ERROR, f"every sample so far failed: {messages.pop()}")
        raise AttemptFailed(
            FailureKind.TOO_MANY_FAILED_SAMPLES,
            f"{failed} of {self.shard.rows} samples failed, {budget} may (node.max_failed_samples); "
            f"for example: {min(messages, default='see the log')}",
        )

    def allocate(self, request: Allocate) -> Allocated:
        """Where a process is to write: makes the shard file at the first call, reserves room for ragged values."""
        if self._history.layout is None:
            layout = create_shard_file(self._run.shard_part(self.shard.index), self.shard, request.outputs)
            self._append(layout)
            self._file = ShardFile.open(self._run, self.shard, layout, write=True)
            self._ends = self._file.value_ends()
        ends = dict(self._ends)
        for name, size in request.sizes.items():
            self._ends[name] = self._ends.get(name, 0) + size
        assert self._history.layout is not None
        return Allocated(self._history.layout, ends)

    def commit(self, commits: Sequence[Commit]) -> None:
        """Journals batches whose rows are in the file."""
        self._append(*commits)
        self.committed += sum(commit.stop - commit.start for commit in commits)
        self._unsynced = True

    def sync_if_due(self, interval: float) -> None:
        """Rows and journal to disk, in this order, every ``interval`` seconds."""
        now = time.monotonic()
        if self._unsynced and now - self._synced_at >= interval:
            self._sync()
            self._synced_at = now

    def _sync(self) -> None:
        if self._file:
            self._file.sync()
        self._journal.sync()
        self._unsynced = False

    def _append(self, *records: AttemptStart | AttemptEnd | Commit | Layout | Retry) -> None:
        self._journal.append(records)
        for record in records:
            self._history.apply(record)

    # --- end

    def done(self, usage: Usage) -> None:
        """All rows are committed: syncs and gives the shard file its final name."""
        part = self._run.shard_part(self.shard.index)
        if self._file is None:
            create_shard_file(part, self.shard, ())
        self._end(EndReason.DONE, None, "", usage)
        rename_synced(part, self._run.shard_done(self.shard.index))

    def stopped(self, message: str, usage: Usage) -> None:
        """The attempt has to leave; the next one goes on from here."""
        self._end(EndReason.STOPPED, None, message, usage)

    def give_up(self, kind: FailureKind, message: str, usage: Usage) -> None:
        """The attempt failed."""
        self._end(EndReason.FAILED, kind, message, usage)

    def _end(self, reason: EndReason, kind: FailureKind | None, message: str, usage: Usage) -> None:
        if self._file:
            self._file.sync()
        seconds = round(time.time() - self._started, 3)
        end = AttemptEnd(
            reason,
            time.time(),
            self.ok,
            self.failed,
            kind,
            message[:_MESSAGE_CHARACTERS],
            seconds,
            self.committed,
            **dataclasses.asdict(usage),
        )
        self._append(end)
        self._journal.sync()  # with the commits since the last time: one wait for the disk, not two

    def close(self) -> None:
        self._journal.close()
        if self._file:
            self._file.close()
