"""Status: how a run stands, from its directory alone. Made by StatusReader, shown by the status, run and list commands."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jobs.kinds import AnyFailureKind, RunState, ShardState
from jobs.storage.beats import Beat
from jobs.storage.files import exists
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import Submission
from launcher.executors import EXECUTORS, Executor, choose_executor
from launcher.runs.failures import FailureGroup, advice
from launcher.runs.find import reference
from launcher.runs.notices import Notice, read_notice
from launcher.runs.shard_states import Shards
from launcher.runs.submissions import SubmissionState
from launcher.status.chain import NO_CHAIN, Chain
from launcher.status.counted import Counted
from launcher.status.efficiency import Efficiency, more_memory, summarise
from launcher.status.finalizer import Finalizer
from launcher.status.sample_counts import SampleCounts, samples_json
from launcher.status.shard_list import ShardRow, shard_rows
from launcher.status.stalls import Laggards
from launcher.status.use import Use, together, use_of

if TYPE_CHECKING:
    from launcher.documents.status import ShardsDocument, StatusDocument, SubmittedDocument

SCHEMA: Literal[1] = 1
SHARD_STATES = (ShardState.DONE, ShardState.RUNNING, ShardState.PENDING, ShardState.FAILED)


@dataclass(frozen=True)
class Status:
    """A run at one moment. ``rate`` is samples per second of the newest submission; ``eta`` is seconds.

    ``results`` are where the results are, or will be: paths, or URLs of stores. ``manifests`` counts those of each where there
    are several.
    ``stale`` are those of them that are there, but not of what is stored now: another run's, or from before the last rows.
    ``in_place``: all is done, and no result is to be written: what is stored is read where it lies.
    ``silent`` are the names of attempts that should have written lately: they are stuck, suspended, or their node is gone.
    ``laggards`` are attempts that write but finish nothing, and slow nodes.
    ``other_versions`` are those that attempts computed with and that did not plan the run, in words. ``chain``: the runs
    before it. ``counted`` is what attempts tell beside samples.
    """

    run: RunDir
    state: RunState
    total: int
    ok: int
    failed: int
    shards: Shards
    rate: float | None
    eta: float | None
    groups: tuple[FailureGroup, ...]
    submissions: tuple[SubmissionState, ...]
    results: tuple[Path | str, ...] = ()
    manifests: tuple[SampleCounts, ...] = ()
    silent: tuple[str, ...] = ()
    stale: tuple[Path | str, ...] = ()
    in_place: bool = False
    other_versions: tuple[str, ...] = ()
    finalizer: Finalizer | None = None
    laggards: Laggards = field(default_factory=Laggards)
    chain: Chain = NO_CHAIN
    counted: Counted = field(default_factory=Counted)
    queue: Mapping[tuple[str, str], int] | None = None
    """With --live: entries of the scheduler's queue by (state, reason)."""

    def __repr__(self) -> str:
        counts = f"{self.ok:,} ok, {self.failed:,} failed, {self.missing:,} missing of {self.total:,}"
        return f"Status({str(self.run.path)!r}, {self.state}: samples {counts})"

    @property
    def is_written(self) -> bool:
        """Whether all results are there, and of what is stored."""
        return self.state is RunState.COMPLETE and not self.in_place

    @cached_property
    def efficiency(self) -> Efficiency | None:
        """What the attempts took of what they were given."""
        return summarise(attempt.beat for attempt in self.shards.attempts)

    @property
    def use(self) -> Use | None:
        """What the array tasks that are at work take, together, of what they asked for; None where there are none."""
        live = [attempt for attempt in self.shards.attempts if attempt.name in self.shards.live]
        return together(map(use_of, live)) if live else None

    @property
    def missing(self) -> int:
        return self.total - self.ok - self.failed

    @property
    def executor(self) -> str | None:
        return self.submissions[-1].submission.executor if self.submissions else None

    @property
    def known_executor(self) -> Executor | None:
        """None also where another version has submitted it, with one that this one does not know."""
        return choose_executor(self.executor) if self.executor in EXECUTORS else None

    @cached_property
    def is_cleaned(self) -> bool:
        """Whether the result is all that is left of its samples."""
        return exists(self.run.cleaned)

    @property
    def errors(self) -> tuple[tuple[int, str], ...]:
        """Why submissions could not retry, or write the result: of the last that ended, and of others that still lack rows."""
        ended = [known for known in self.submissions if known.outcome]
        return tuple(
            (known.number, known.outcome.error)
            for known in ended
            if known.outcome and known.outcome.error and (known is ended[-1] or self.shards.lacks(known))
        )

    @property
    def notes(self) -> tuple[tuple[int, str], ...]:
        """What attempts that followed submissions did not ask for, and why."""
        return tuple(
            (known.number, note) for known in self.submissions if known.outcome for note in known.outcome.notes
        )

    @cached_property
    def notice(self) -> Notice | None:
        """Who was told of the end, where somebody is to be."""
        ended = [known.number for known in self.submissions if known.outcome]
        return read_notice(self.run, ended[-1]) if ended and self.state is not RunState.RUNNING else None

    @property
    def ended(self) -> float:
        """When the last submission ended that has, seconds since the epoch; 0 before."""
        return max((known.outcome.ended for known in self.submissions if known.outcome), default=0.0)

    @property
    def is_abandoned(self) -> bool:
        """Whether whatever ran the newest submission was killed before it could end it."""
        last = self.submissions[-1] if self.submissions else None
        if last is None or last.outcome or last.is_copied:
            return False
        return not (last.may_go_on or last.submission.is_left_to_launcher)

    @cached_property
    def beyond_samples(self) -> str:
        """What a run does whose samples are all there: some of them again, or the result."""
        if self.state is not RunState.RUNNING or self.missing:
            return ""
        if again := sum(self.shards.left_of(one.submission).count for one in self.submissions if one.is_open):
            return f"{again:,} still to be computed again"
        if self.shards.live:
            return ""
        is_awaited = self.finalizer is not None and self.finalizer.is_awaited
        return "waiting for the job that writes the result" if is_awaited else "writing the result"

    def count(self, state: ShardState) -> int:
        """Shards in a state."""
        return self.shards.count(state)

    def advice(self, group: FailureGroup) -> str:
        """What to do about a group of failures, with the exact command."""
        if self.is_cleaned:
            return (
                "nothing can be computed anew in a run that was cleaned; all of it again: launcher run CONFIG --fresh"
            )
        memory = more_memory(self._beats.get(group.kind, ())) or ("64G", "it ran out")
        own = self.known_executor.advice if self.known_executor else {}
        budget = None if self.most_fail else self.shards.sufficient_budget
        has_results = self.ok > 0
        text = advice(group, reference(self.run), own, memory, budget, has_results=has_results)
        # Until then the command says that all of it is running.
        return f"{text} (once the run has ended)" if self.state is RunState.RUNNING else text

    @property
    def most_fail(self) -> bool:
        """Whether more than a tenth of what was tried has failed: a cause to be mended, not samples to be given up."""
        return 10 * self.failed > self.ok + self.failed

    @cached_property
    def _beats(self) -> Mapping[AnyFailureKind, Sequence[Beat]]:
        """The last beats of attempts in which something failed, by its kind."""
        found: dict[AnyFailureKind, list[Beat]] = {}
        for beat in (attempt.beat for attempt in self.shards.attempts):
            kinds = {beat.kind, *(one.kind for one in beat.given_up), *(one.kind for one in beat.failures)}
            for kind in kinds:
                if kind:
                    found.setdefault(kind, []).append(beat)
        return found

    def shard_rows(self, *, failed: bool = False, running: bool = False, slow: bool = False) -> Iterator[ShardRow]:
        """Shards with their array tasks: all, or those that failed or have failed samples, that run, that are slow."""
        shards, in_work = self.shards, self.shards.in_state(ShardState.RUNNING)
        named = Spans() if failed or running or slow else Spans([(0, len(shards))])
        named |= shards.with_failures() if failed else Spans()
        named |= in_work if running else Spans()
        asked = named | in_work if slow else named
        rows = shard_rows(shards, asked.numbers, self.laggards.attempts | set(self.silent))
        return (row for row in rows if row.is_slow or row.shard.shard.index in named)

    def to_json(self, shards: Sequence[ShardRow] | None = None) -> "StatusDocument":
        """The document of ``status --json``, with ``shards`` if there are any to be shown."""
        document: StatusDocument = {
            "schema": SCHEMA,
            "run": str(self.run.path),
            "state": self.state,
            "samples": samples_json(self.total, self.ok, self.failed),
            "shards": self._shards_json(),
            "samples_per_second": None if self.rate is None else round(self.rate, 3),
            "eta_seconds": None if self.eta is None else round(self.eta, 1),
            "failures": [group.to_json(self.advice(group)) for group in self.groups],
            "submissions": [self._submitted(known.submission) for known in self.submissions],
            "attempts": len(self.shards.attempts),
            "silent": list(self.silent),
            "stalled": [one.to_json() for one in self.laggards.stalled],
            "slow_nodes": [one.to_json() for one in self.laggards.slow_nodes],
            "samples_in_flight": self.counted.in_flight,
            "counts": self.counted.to_json(),
            "other_versions": list(self.other_versions),
            "scheduler_calls": 0 if self.queue is None else 1,
            "use": self.use.to_json() if self.use else None,
            "efficiency": self.efficiency.to_json() if self.efficiency else None,
            "results": [str(one) for one in self.results] if self.is_written else [],
        }
        self._add_what_there_is(document)
        if shards is not None:
            document["shard_list"] = [shard.to_json() for shard in shards]
        return document

    def _add_what_there_is(self, document: "StatusDocument") -> None:
        """The fields that not every run has."""
        if self.queue is not None:
            queue = self.queue.items()
            document["queue"] = [{"state": state, "reason": reason, "entries": n} for (state, reason), n in queue]
        if self.manifests:
            document["manifests"] = [manifest.to_json() for manifest in self.manifests]
        self.chain.add_to(document, is_running=self.state is RunState.RUNNING)
        if self.in_place:
            document["in_place"] = True
        if self.is_cleaned:
            document["cleaned"] = True
        if self.finalizer:
            document["finalized_by"] = self.finalizer.to_json()
        if self.notes:
            document["notes"] = [note for _, note in self.notes]
        if self.errors:
            document["error"] = "\n".join(error for _, error in self.errors)
        if self.notice:
            document["notice"] = self.notice.to_json()

    def _shards_json(self) -> "ShardsDocument":
        return {
            "total": len(self.shards),
            "done": self.count(ShardState.DONE),
            "running": self.count(ShardState.RUNNING),
            "pending": self.count(ShardState.PENDING),
            "failed": self.count(ShardState.FAILED),
        }

    def _submitted(self, one: Submission) -> "SubmittedDocument":
        shards = self.shards.of(one).count
        found: SubmittedDocument = {"number": one.number, "job_id": next(iter(one.job_ids), None), "shards": shards}
        if one.cluster:
            found["cluster"] = one.cluster
        return found
