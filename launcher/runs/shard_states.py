"""ShardStatus: where each shard of a run stands, from one directory listing and the journals.

A done shard costs a look at the end of its journal; the journals of others are read as they grow, so a reader that is
asked again (--watch) reads only what is new.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.kinds import EndReason, FailureKind, ShardState
from jobs.machine.process_identity import host_name
from jobs.storage.journal import History, JournalReader, is_running
from jobs.storage.plans import Plan
from jobs.storage.records import AttemptEnd, AttemptStart, FailedSample, Shard
from jobs.storage.rundir import RunDir
from launcher.executors import EXECUTORS
from launcher.runs.failures import Failure
from launcher.runs.submissions import SubmissionState

LOST_MESSAGE = "the attempt left no trace of its end"


@dataclass(frozen=True)
class ShardStatus:
    """A shard and where it stands; ``ok`` and ``failed`` count samples.

    ``recent`` counts the samples that the newest submission committed, from the time ``since`` to ``until`` (seconds
    since the epoch; None: it goes on). ``end`` is how the last attempt that ended did.
    """

    shard: Shard
    state: ShardState
    ok: int = 0
    failed: int = 0
    failure: Failure | None = None
    samples: tuple[FailedSample, ...] = ()
    recent: int = 0
    since: float | None = None
    until: float | None = None
    end: AttemptEnd | None = None

    def to_json(self) -> dict[str, Any]:
        """An entry of ``launcher status --json --shards``."""
        counts = {"samples": self.shard.rows, "ok": self.ok, "failed": self.failed}
        why = {"kind": self.failure.kind, "message": self.failure.message} if self.failure else {}
        return {"shard": self.shard.index, "state": self.state, **counts, **why}


class ShardReader:
    """Reads the states of a run's shards, again and again."""

    def __init__(self, run: RunDir, plan: Plan) -> None:
        self._run = run
        self._plan = plan
        self._journals: dict[int, JournalReader] = {}
        self._done: dict[int, AttemptEnd] = {}

    def read(self, newest: Mapping[int, SubmissionState]) -> list[ShardStatus]:
        """All shards in order; ``newest`` is the last submission of each shard that has one."""
        done = self._run.list_shards().done
        return [
            self._read_done(shard, newest.get(shard.index))
            if shard.index in done
            else self._read_open(shard, newest.get(shard.index))
            for shard in self._plan.shards()
        ]

    def history(self, index: int) -> History:
        """The shard's journal as of now."""
        return self._journal(index).history()

    def _journal(self, index: int) -> JournalReader:
        return self._journals.setdefault(index, JournalReader(self._run.journal(index)))

    def _read_done(self, shard: Shard, known: SubmissionState | None) -> ShardStatus:
        end = self._done.get(shard.index) or self._journal(shard.index).end()
        if end is None and (last := self.history(shard.index).last):
            end = last.end
        if end is None:
            return ShardStatus(shard, ShardState.FAILED, failure=_lost(shard, "its journal is missing or damaged"))
        self._done[shard.index] = end
        samples = tuple(self.history(shard.index).failed_samples) if end.failed else ()
        is_recent = known is not None and end.time >= known.submission.created
        since, until = (end.time - end.seconds, end.time) if is_recent else (None, end.time)
        recent = end.committed if is_recent else 0
        return ShardStatus(shard, ShardState.DONE, end.ok, end.failed, None, samples, recent, since, until, end)

    def _read_open(self, shard: Shard, known: SubmissionState | None) -> ShardStatus:
        self._done.pop(shard.index, None)
        history = self.history(shard.index)
        state, failure = self._judge(shard, history, known)
        last = history.last
        is_recent = last is not None and known is not None and last.start.submission == known.number
        return ShardStatus(
            shard,
            state,
            history.ok,
            history.failed,
            failure,
            tuple(history.failed_samples),
            history.ok + history.failed - history.before if is_recent else 0,
            last.start.time if last and is_recent else None,
            last.end.time if last and last.end else None,
            last.end if last else None,
        )

    def _judge(
        self, shard: Shard, history: History, known: SubmissionState | None
    ) -> tuple[ShardState, Failure | None]:
        """The state of a shard that is not done, and why it failed."""
        last = history.last
        recorded = known.outcome.failures.get(shard.index) if known and known.outcome else None
        by_outcome = (ShardState.FAILED, recorded) if recorded else (ShardState.PENDING, None)
        if known is None or last is None or last.start.submission < known.number:
            return by_outcome
        if last.end is None or last.end.reason is EndReason.DONE:
            if self._runs(shard, last.start, known):
                return ShardState.RUNNING, None
            if known.outcome and known.outcome.cancelled and not recorded:
                return ShardState.PENDING, None  # it was killed on purpose
            return ShardState.FAILED, recorded or _lost(shard, LOST_MESSAGE)
        if last.end.reason is EndReason.FAILED:
            return ShardState.FAILED, Failure(last.end.kind or FailureKind.ERROR, last.end.message, shard.index)
        return by_outcome

    def _runs(self, shard: Shard, start: AttemptStart, known: SubmissionState) -> bool:
        """The lock tells on this machine; elsewhere the attempt runs as long as its submission does."""
        if is_running(self._run.journal(shard.index)):
            return True
        # None: of another version, whose runs can be looked at all the same.
        executor = EXECUTORS.get(known.submission.executor)
        if start.host == host_name() and executor and not executor.restarts_tasks:
            return False
        return known.may_go_on


def _lost(shard: Shard, message: str) -> Failure:
    return Failure(FailureKind.LOST, message, shard.index)
