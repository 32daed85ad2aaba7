"""Status: how a run stands, from its directory alone. Made by StatusReader, shown by the status, run and list commands.

It asks no scheduler and opens no HDF5 file, so it is cheap on a login node however large the run is.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.kinds import RunState, ShardState
from jobs.storage.plans import Plan, Submission
from jobs.storage.ranges import format_ranges
from jobs.storage.records import Part
from jobs.storage.rundir import RunDir
from launcher.executors import EXECUTORS, choose_executor
from launcher.runs.failures import Failure, FailureGroup, advice, group
from launcher.runs.find import reference
from launcher.runs.shard_states import ShardReader, ShardStatus
from launcher.runs.submissions import Outcome, SubmissionState, chosen_output, newest_by_shard, read_submissions
from launcher.status.efficiency import Efficiency, more_memory, summarise

SCHEMA = 1
SHARD_STATES = (ShardState.DONE, ShardState.RUNNING, ShardState.PENDING, ShardState.FAILED)

# The file server's clock may be behind a node's by this much; seconds.
_CLOCK_SKEW = 2.0


@dataclass(frozen=True)
class SampleCounts:
    """How many samples there are, of one of several manifests."""

    name: str
    total: int
    ok: int
    failed: int

    @classmethod
    def of(cls, part: Part, shards: Sequence[ShardStatus]) -> "SampleCounts":
        """Those of a part; ``shards`` are its own."""
        return cls(str(part.name), part.rows, sum(one.ok for one in shards), sum(one.failed for one in shards))

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "samples": _samples_json(self.total, self.ok, self.failed)}


def _samples_json(total: int, ok: int, failed: int) -> dict[str, int]:
    return {"total": total, "ok": ok, "failed": failed, "missing": total - ok - failed}


@dataclass(frozen=True)
class Status:
    """A run at one moment. ``rate`` is samples per second of the newest submission; ``eta`` is seconds.

    ``results`` are where the results are, or will be. ``manifests`` counts those of each where there are several.
    """

    run: RunDir
    state: RunState
    total: int
    ok: int
    failed: int
    shards: tuple[ShardStatus, ...]
    rate: float | None
    eta: float | None
    groups: tuple[FailureGroup, ...]
    submissions: tuple[SubmissionState, ...]
    results: tuple[Path, ...] = ()
    manifests: tuple[SampleCounts, ...] = ()
    queue: Mapping[tuple[str, str], int] | None = None
    """With --live: entries of the scheduler's queue by (state, reason)."""

    @property
    def efficiency(self) -> Efficiency | None:
        """What the attempts took of what they were given."""
        return summarise(shard.end for shard in self.shards if shard.end)

    @property
    def missing(self) -> int:
        return self.total - self.ok - self.failed

    @property
    def executor(self) -> str | None:
        return self.submissions[-1].submission.executor if self.submissions else None

    @property
    def error(self) -> str | None:
        """Why the newest submission could not retry or write the result."""
        outcome = self.submissions[-1].outcome if self.submissions else None
        return outcome.error if outcome else None

    @property
    def is_abandoned(self) -> bool:
        """Whether whatever ran the newest submission was killed before it could end it."""
        last = self.submissions[-1] if self.submissions else None
        return last is not None and last.outcome is None and not last.may_go_on

    def count(self, state: ShardState) -> int:
        """Shards in a state."""
        return sum(shard.state == state for shard in self.shards)

    def advice(self, group: FailureGroup) -> str:
        """What to do about a group of failures, with the exact command."""
        ends = [end for shard in group.shards if (end := self.shards[shard].end)]
        memory = more_memory(ends) or ("64G", "it ran out")
        own = choose_executor(self.executor).advice if self.executor in EXECUTORS else {}
        return advice(group, reference(self.run), format_ranges(group.shards), own, memory)

    def to_json(self, *, with_shards: bool = False) -> dict[str, Any]:
        """The document of ``status --json``."""
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "run": str(self.run.path),
            "state": self.state,
            "samples": _samples_json(self.total, self.ok, self.failed),
            "shards": {"total": len(self.shards), **{state: self.count(state) for state in SHARD_STATES}},
            "samples_per_second": None if self.rate is None else round(self.rate, 3),
            "eta_seconds": None if self.eta is None else round(self.eta, 1),
            "failures": [group.to_json(self.advice(group)) for group in self.groups],
            "submissions": [
                {"number": s.number, "job_id": next(iter(s.job_ids), None), "shards": len(s.shards)}
                for s in (known.submission for known in self.submissions)
            ],
            "scheduler_calls": 0 if self.queue is None else 1,
            "efficiency": self.efficiency.to_json() if self.efficiency else None,
        }
        if self.queue is not None:
            entries = [{"state": state, "reason": reason, "entries": n} for (state, reason), n in self.queue.items()]
            document["queue"] = entries
        if self.manifests:
            document["manifests"] = [manifest.to_json() for manifest in self.manifests]
        if self.error:
            document["error"] = self.error
        if with_shards:
            document["shard_list"] = [shard.to_json() for shard in self.shards]
        return document


class StatusReader:
    """Reads the status of one run, again and again; what is read once is not read again."""

    def __init__(self, run: RunDir) -> None:
        """Raises InputError where ``run`` is no run directory."""
        self.run = run
        self.plan = Plan.read(run.plan)
        self._shards = ShardReader(run, self.plan)

    @property
    def is_polled(self) -> bool:
        """Whether the newest submission may get lost without a word here, so that its executor is asked now and then."""
        submissions = read_submissions(self.run)
        return bool(submissions) and choose_executor(submissions[-1].submission.executor).is_polled

    def read(self, *, live: bool = False) -> Status:
        """The status now. ``live`` asks the scheduler, once, what it still has of the run."""
        submissions = read_submissions(self.run)
        queue: Mapping[tuple[str, str], int] | None = None
        if live:
            submissions, queue = _observe(self.run, submissions)
        shards = self._shards.read(newest_by_shard(submissions))
        ok, failed = sum(shard.ok for shard in shards), sum(shard.failed for shard in shards)
        chosen = chosen_output(submissions)
        results = [(part, self.run.result_of(part.name, chosen)) for part in self.plan.results]
        state = _run_state([(path, _within(part, shards)) for part, path in results], submissions, shards)
        rate = _rate(shards, submissions[-1] if submissions else None)
        missing = self.plan.rows - ok - failed
        eta = missing / rate if rate and state is RunState.RUNNING else None
        groups = tuple(group(_failures(shards)))
        known = tuple(submissions)
        paths = tuple(path for _, path in results)
        named = tuple(SampleCounts.of(part, _within(part, shards)) for part in self.plan.parts)
        return Status(
            self.run, state, self.plan.rows, ok, failed, tuple(shards), rate, eta, groups, known, paths, named, queue
        )


def _observe(
    run: RunDir, known: Sequence[SubmissionState]
) -> tuple[list[SubmissionState], Mapping[tuple[str, str], int]]:
    """Submissions go on if their scheduler has something of them, whatever they left behind; each is asked once."""
    asked: dict[str, list[Submission]] = {}
    for one in known:
        if one.outcome is None:
            asked.setdefault(one.submission.executor, []).append(one.submission)
    active: set[int] = set()
    gone: set[int] = set()
    entries: Counter[tuple[str, str]] = Counter()
    for name, submissions in asked.items():
        executor = choose_executor(name)
        if executor.is_polled:
            seen = executor.observe(run, submissions)
            active |= seen.active
            gone |= {submission.number for submission in submissions} - seen.active
            entries.update(seen.entries)
    now = [replace(k, is_open=True) if k.number in active else k for k in known]
    return [_ended(k) if k.number in gone else k for k in now], entries


def _ended(known: SubmissionState) -> SubmissionState:
    """What a person submitted with sbatch has no finalize job that would write an outcome."""
    outcome = Outcome(time.time()) if known.is_by_hand else None
    return replace(known, is_open=False, outcome=outcome)


def _failures(shards: Sequence[ShardStatus]) -> Iterator[Failure]:
    for state in shards:
        if state.failure:
            yield state.failure
        for sample in state.samples:
            yield Failure(sample.kind, sample.message, state.shard.index, samples=1)


def _within(part: Part, shards: Sequence[ShardStatus]) -> list[ShardStatus]:
    return [state for state in shards if part.start <= state.shard.start < part.stop]


def _run_state(
    results: Sequence[tuple[Path, Sequence[ShardStatus]]],
    submissions: Sequence[SubmissionState],
    shards: Sequence[ShardStatus],
) -> RunState:
    if any(known.is_open for known in submissions) or any(shard.state is ShardState.RUNNING for shard in shards):
        return RunState.RUNNING
    last = submissions[-1] if submissions else None
    if all(shard.state is ShardState.DONE for shard in shards) and all(
        _is_gathered(path, own) for path, own in results
    ):
        return RunState.COMPLETE
    if last and last.outcome and last.outcome.cancelled:
        return RunState.CANCELLED
    if last is None or (last.submission.planned and all(shard.state is ShardState.PENDING for shard in shards)):
        return RunState.PLANNED
    has_failed = any(shard.state is ShardState.FAILED for shard in shards)
    return RunState.FAILED if has_failed else RunState.INCOMPLETE


def _is_gathered(result: Path, shards: Sequence[ShardStatus]) -> bool:
    """Whether the result is newer than every shard; a run that was gathered before its last shards is not."""
    try:
        written = result.stat().st_mtime
    except FileNotFoundError:
        return False
    return all(shard.until is None or shard.until <= written + _CLOCK_SKEW for shard in shards)


def _rate(shards: Sequence[ShardStatus], newest: SubmissionState | None) -> float | None:
    """Samples per second that the newest submission committed, over the time in which its attempts ran."""
    if newest is None:
        return None
    mine = set(newest.submission.shards)
    recent = [state for state in shards if state.since is not None and state.shard.index in mine]
    if not recent:
        return None
    ends = [time.time() if state.until is None else state.until for state in recent]
    until = time.time() if newest.is_open else max(ends)
    seconds = until - min(state.since for state in recent if state.since is not None)
    return sum(state.recent for state in recent) / seconds if seconds > 0 else None
