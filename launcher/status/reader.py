"""StatusReader: looks at a run again and again, and makes a Status of it.

It asks no scheduler, unless it is told to, and opens no HDF5 file, so it is cheap on a login node however large the run is.
"""

from collections.abc import Collection, Mapping, Sequence

from jobs.kinds import RunState, ShardState
from jobs.storage.files import has_content, is_file
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.executors import choose_executor
from launcher.runs.failures import group
from launcher.runs.result_place import result_places
from launcher.runs.shard_states import ShardReader, Shards
from launcher.runs.submissions import SubmissionState, read_submissions
from launcher.status.chain import Chain, Link
from launcher.status.counted import counted
from launcher.status.finalizer import find_finalizer
from launcher.status.gathered import is_gathered
from launcher.status.live import observe
from launcher.status.rate import is_steady, rate_of
from launcher.status.sample_counts import SampleCounts
from launcher.status.stalls import find_laggards, find_silent
from launcher.status.status import Status
from launcher.status.versions import other_versions


class StatusReader:
    """Reads the status of one run, again and again; what is read once is not read again."""

    def __init__(
        self, run: RunDir, below: Collection[RunDir] = (), others: "dict[RunDir, Status | None] | None" = None
    ) -> None:
        """Raises InputError where ``run`` is no run directory.

        ``below`` are runs that come after it, for the sake of the first of which it is read; ``others`` those before that one,
        as far as they were read for it.
        """
        self.run = run
        self._below = (*below, run)
        self._others = {} if others is None else others
        self.plan = Plan.read(run.plan)
        self._shards = ShardReader(run, self.plan)

    @property
    def is_polled(self) -> bool:
        """Whether the newest submission may get lost without a word here, so that its executor is asked now and then."""
        submissions = read_submissions(self.run)
        return bool(submissions) and choose_executor(submissions[-1].submission.executor).is_polled

    def read(self, *, live: bool = False) -> Status:
        """The status now. ``live`` asks the scheduler, once, what it still has of the run."""
        if self._below == (self.run,):
            self._others.clear()
        submissions, queue = self._read_submissions(live)
        shards = self._shards.read(submissions)
        newest = submissions[-1] if submissions else None
        results = result_places(self.run, self.plan, submissions)
        is_done = shards.count(ShardState.DONE) == len(shards)
        missing_results = [one for one in results if not (is_done and is_gathered(self.plan, one, shards))]
        in_place = bool(missing_results) and is_done and _is_kept_in_place(newest)
        chain = Chain.read(self.run, self.plan, shards.owners, self._read_other)
        is_complete = (in_place or not missing_results) and not chain.outdated
        rate = rate_of(shards, newest) if newest else None
        missing = self.plan.rows - shards.closed.count
        laggards = find_laggards(self.plan, shards, submissions)
        at_work = set(shards.live) - {one.attempt for one in laggards.stalled}
        return Status(
            run=self.run,
            state=_run_state(submissions, shards, is_complete=is_complete),
            total=self.plan.rows,
            ok=shards.closed.count - shards.failed,
            failed=shards.failed,
            shards=shards,
            rate=rate,
            eta=_not_before(chain.source, missing / rate if rate and at_work and is_steady(shards, newest) else None),
            groups=tuple(group(shards.failures())),
            submissions=tuple(submissions),
            results=tuple(one.shown for one in results),
            manifests=tuple(SampleCounts.of(part, shards) for part in self.plan.parts),
            silent=tuple(find_silent(shards, submissions)),
            stale=tuple(one.shown for one in missing_results if is_done and one.exists),
            in_place=in_place,
            other_versions=other_versions(self.plan.environment, shards.attempts),
            finalizer=find_finalizer(self.run, submissions),
            laggards=laggards,
            chain=chain,
            counted=counted(shards, newest),
            queue=queue,
        )

    def _read_submissions(self, live: bool) -> tuple[list[SubmissionState], Mapping[tuple[str, str], int] | None]:
        """Those of now, whose plan may be another one than at the last look; and what the scheduler has of them, if asked."""
        submissions = read_submissions(self.run)
        has_grown = has_content(self.run.grown_plan(self.plan.generation + 1))
        if has_grown or (submissions and not submissions[-1].submission.is_of(self.plan)):
            self.plan = Plan.read(self.run.plan)
            self._shards = ShardReader(self.run, self.plan)
        return observe(self.run, submissions) if live else (submissions, None)

    def _read_other(self, run: RunDir) -> Status | None:
        """The status of a run before this one; None where there is none, or it comes after this one itself."""
        if run in self._below:
            return None
        if run not in self._others:  # several may come after it
            there = is_file(run.plan)
            self._others[run] = StatusReader(run, self._below, self._others).read() if there else None
        return self._others[run]


def _not_before(source: Link | None, eta: float | None) -> float | None:
    """Seconds that are left: a run that takes the samples of another one is not done before that is."""
    other = source.status if source else None
    if eta is None or other is None or not other.missing:
        return eta
    return None if other.eta is None else max(eta, other.eta)


def _run_state(submissions: Sequence[SubmissionState], shards: Shards, *, is_complete: bool) -> RunState:
    if any(known.is_open for known in submissions) or shards.live:
        return RunState.RUNNING
    last = submissions[-1] if submissions else None
    if is_complete:
        return RunState.COMPLETE
    if last and last.outcome and last.outcome.cancelled:
        return RunState.CANCELLED
    if last is None or (last.submission.planned and shards.count(ShardState.PENDING) == len(shards)):
        return RunState.PLANNED
    return RunState.FAILED if shards.count(ShardState.FAILED) else RunState.INCOMPLETE


def _is_kept_in_place(newest: SubmissionState | None) -> bool:
    """Whether the settings of now ask for no result, and nobody has found that something of it is not there."""
    if newest is None or newest.submission.resources.gathers:
        return False
    return newest.outcome is None or newest.outcome.error is None
