"""Finalize: what happens when all tasks of a submission have ended: try again within the retry policy, or gather.

Called by executors: by the local one's process, and by a scheduler's finalize job. It writes the outcome last, so a
submission without one counts as going on for as long as its executor may live.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from jobs.errors import BusyError, LauncherError, RunError
from jobs.kinds import ShardState
from jobs.storage.attempts import Attempts
from jobs.storage.code import refusal
from jobs.storage.old_run import import_run
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans, union
from jobs.storage.submission import Resources, Submission
from jobs.storage.upstreams import Upstream
from launcher.config.settings import RetrySettings
from launcher.plan.work import failed_by_shard, with_work
from launcher.retry.policy import Allocation, Terms, next_terms
from launcher.retry.undone import Left, Undone, alike, by_shard
from launcher.runs.causes import NextAttempt, cause
from launcher.runs.failures import Failure, too_many_failed
from launcher.runs.holders import known_claims
from launcher.runs.shard_states import ShardReader, Shards
from launcher.runs.submissions import Outcome, SubmissionState, create, read_submissions

# Seconds between looks whether somebody else still writes the result, and after which nobody waits any more for one of
# whom nothing is seen: a frozen process has its lock for ever.
_BUSY_WAIT = 1.0
_BUSY_SILENCE = 600.0


@dataclass(frozen=True)
class Ending:
    """What the executor saw, by array index: why tasks ended whose attempts do not tell, and what they were given.

    The shard of such a failure does not count: finalize tells which shards had rows there. A task in neither, whose
    attempts left no end, only had to leave.
    """

    tasks: Mapping[int, Failure] = field(default_factory=dict)
    allocations: Mapping[int, Allocation] = field(default_factory=dict)
    cancelled: bool = False


class Cancelled(RunError):
    """Somebody cancelled the run while its result was written."""


class ExecutorTerms(Protocol):
    """The terms of a submission as its executor knows them."""

    @property
    def terms(self) -> Terms:
        """Those that the submission was asked for with."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What ``limited`` kept the next attempts from asking for, and why."""

    def limited(self, retry: RetrySettings, wanted: Collection[NextAttempt]) -> RetrySettings:
        """The policy within what the executor can give at all; ``wanted``: what attempts are to get more of."""

    def resources(self, before: Resources, terms: Terms) -> Resources:
        """What the next submission is asked with, for other terms than the one ``before``."""


@dataclass(frozen=True)
class WithoutLimits:
    """Of an executor that has no limits to raise: what ran out of memory or time would do so again."""

    terms: Terms
    notes: tuple[str, ...] = ()

    def limited(self, retry: RetrySettings, wanted: Collection[NextAttempt]) -> RetrySettings:
        return retry

    def resources(self, before: Resources, terms: Terms) -> Resources:
        return replace(before, options={})


def finalize(
    run: RunDir,
    plan: Plan,
    submission: Submission,
    ending: Ending,
    asked: ExecutorTerms,
    retry: RetrySettings,
    tick: Callable[[], None] = lambda: None,
    gathers: bool = True,
) -> list[Submission]:
    """Ends a submission; returns those that go on with what failed, for the executor to start.

    ``tick`` is called now and then while the result is written; it may raise Cancelled. Of submissions that ended
    together only the last one ``gathers``.
    """
    if not submission.is_of(plan):
        whose = f"submission {submission.number} is of another plan than {run.plan.name} has now"
        error = f"{whose}; do: launcher rerun {run.argument}"
        Outcome(time.time(), ending.cancelled, error=error).write(run, submission.number)
        return []
    import_run(run)  # where an older version has begun it
    undone = _undone(run, plan, submission, ending)
    given_up = {**_over_budget(run, undone), **undone.given_up}
    left = list(undone.left(given_up))
    outcome = Outcome(time.time(), ending.cancelled, {**given_up, **by_shard(plan, left)})
    successors = []
    if not ending.cancelled:
        following = _next_attempts(left, ending, asked, retry)
        outcome = replace(outcome, notes=asked.notes)
        if following and (problem := refusal(run, plan)):
            following, outcome = {}, replace(outcome, error=f"nothing is tried again: {problem}")
        for terms, own in following.items():
            successors += _continue(run, plan, submission, terms, asked.resources(submission.resources, terms), own)
        if gathers and not left and (shards := _all_done(run, plan, submission, outcome)):
            outcome = _completed(run, submission, replace(outcome, failed_samples=shards.failed), tick)
    # Last: until then the submission counts as going on, and its claims, which this ends, have been read.
    replace(outcome, ended=time.time()).write(run, submission.number)
    return successors


def _undone(run: RunDir, plan: Plan, submission: Submission, ending: Ending) -> Undone:
    # What an older version has done does not say by which submission.
    attempts = Attempts(run, None if submission.shards else submission.number).read()
    claims = known_claims(run, submission.number, attempts)
    undone = Undone(plan, submission, attempts, claims, ending.tasks)
    upstream = Upstream.of(plan)
    if upstream is None or not upstream.overlaps:
        return undone
    goes_on = not upstream.has_ended
    if (to_come := upstream.to_come()) is not None:  # the other run's batches are of another size
        to_come = plan.table.whole_batches(to_come & Spans([(0, plan.rows)]))
    return replace(undone, to_come=to_come, goes_on=goes_on, again=upstream.stale(run))


def _over_budget(run: RunDir, undone: Undone) -> dict[int, Failure]:
    """The shards in which more samples failed than may, in all attempts together."""
    plan, node = undone.plan, undone.submission.node

    def over(counts: Mapping[int, int]) -> dict[int, Failure]:
        found = (too_many_failed(shard, failed, plan.shard(shard).rows, node) for shard, failed in counts.items())
        return {failure.shard: failure for failure in found if failure}

    # What two attempts did is counted twice at first, so of those that seem to exceed it each failed sample is looked up.
    suspects = over(undone.failed_samples())
    return over(failed_by_shard(run, plan, plan.table.rows_of(suspects))) if suspects else {}


def _next_attempts(
    left: Iterable[Left], ending: Ending, asked: ExecutorTerms, retry: RetrySettings
) -> dict[Terms, list[Left]]:
    """What is worth another attempt, by the terms of that: rows with different terms are kept apart."""
    found: dict[Terms, list[Left]] = {}
    groups = alike(left)
    retry = asked.limited(retry, {cause(kind).next_attempt for kind, _ in groups if kind})
    for (kind, progress), own in groups.items():
        had = [ending.allocations.get(one.index, Allocation()) for one in own]
        following = next_terms(kind, progress, asked.terms, retry, had)
        if following:
            found.setdefault(following, []).extend(own)
    return found


def _continue(
    run: RunDir, plan: Plan, submission: Submission, terms: Terms, resources: Resources, left: Iterable[Left]
) -> list[Submission]:
    """Writes the submission that follows, of as many array tasks as left these rows; none where a rerun has taken them."""
    resources = replace(resources, attempt=terms.attempt, continues=submission.number)
    new = replace(
        submission, created=time.time(), resources=resources, job_ids=(), finalize_id=None, planned=False, shards=()
    )
    rows, tasks = union(one.rows for one in left), len({one.index for one in left})
    try:
        return [create(run, with_work(run, plan, new, rows, tasks))]
    except RunError:
        return []


def _all_done(run: RunDir, plan: Plan, submission: Submission, outcome: Outcome) -> Shards | None:
    """The shards of the run, if all of them are done now that this submission has ended."""
    others = [known for known in read_submissions(run) if known.number != submission.number]
    ended = SubmissionState(submission, outcome, False)
    shards = ShardReader(run, plan).read(sorted([*others, ended], key=lambda known: known.number))
    return shards if shards.count(ShardState.DONE) == plan.shard_count else None


def _completed(run: RunDir, submission: Submission, outcome: Outcome, tick: Callable[[], None]) -> Outcome:
    """Writes the result, or sees that all of it is there; returns the outcome, with what went wrong in it."""
    try:
        return replace(outcome, seals=_seals(run, submission, tick))
    except Cancelled:
        return replace(outcome, cancelled=True)
    except (LauncherError, OSError) as error:
        print(f"gather: {error}", flush=True)
        return replace(outcome, error=str(error) or type(error).__name__)


def _seals(run: RunDir, submission: Submission, tick: Callable[[], None]) -> tuple[str, ...]:
    if not submission.resources.gathers:
        from jobs.gather.stored_check import check_stored

        return check_stored(run)
    from launcher.delivery.destination import write_result

    output = Path(submission.resources.output) if submission.resources.output else None
    form, patience = submission.resources.form, _Patience(run)
    while True:
        try:
            return write_result(run, output=output, form=form, progress=lambda done, total: tick()).seals
        except BusyError as busy:
            # Another submission's end, or a person, who may have begun before the last rows were there.
            print(f"gather: {busy}", flush=True)
            patience.wait(busy)
            tick()


class _Patience:
    """Waits for whoever makes the same result, as long as something is seen of that: its file changes."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._seen: object = None
        self._since = time.monotonic()

    def wait(self, busy: BusyError) -> None:
        """A while; raises RunError where nothing was seen for long."""
        if (seen := busy.look()) != self._seen:
            self._seen, self._since = seen, time.monotonic()
        elif time.monotonic() - self._since > _BUSY_SILENCE:
            raise RunError(
                f"{busy}; nothing was seen of it for {_BUSY_SILENCE:.0f} s, so this one gave up: end that process, "
                f"then: launcher gather {self._run.argument}"
            )
        time.sleep(_BUSY_WAIT)
