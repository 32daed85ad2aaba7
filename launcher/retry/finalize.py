"""Finalize: what happens when all tasks of a submission have ended: try again within the retry policy, or gather.

Called by executors: by the local one's process, and by a scheduler's finalize job. It writes the outcome last, so a
submission without one counts as going on for as long as its executor may live.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from jobs.errors import BusyError, LauncherError, RunError
from jobs.kinds import AnyFailureKind, ShardState
from jobs.storage.plans import Plan, Submission
from jobs.storage.rundir import RunDir
from launcher.config.settings import RetrySettings
from launcher.retry.policy import Allocation, Terms, next_terms
from launcher.runs.failures import Failure
from launcher.runs.shard_states import ShardReader, ShardStatus
from launcher.runs.submissions import Outcome, SubmissionState, create


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

    def options(self, terms: Terms) -> Mapping[str, str]:
        """``Resources.options`` of a submission that asks for others."""


@dataclass(frozen=True)
class WithoutLimits:
    """Of an executor that has no limits to raise: what ran out of memory or time would do so again."""

    terms: Terms

    def options(self, terms: Terms) -> Mapping[str, str]:
        return {}


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
    outcome = Outcome(time.time(), ending.cancelled, dict(ending.failures))
    states = ShardReader(run, plan).read({s: SubmissionState(submission, outcome, False) for s in submission.shards})
    is_done = all(state.state is ShardState.DONE for state in states)
    successors = []
    if not ending.cancelled:
        undone = [states[shard] for shard in submission.shards if states[shard].state is not ShardState.DONE]
        for terms, shards in _next_attempts(undone, ending, asked.terms, retry).items():
            successors += _continue(run, submission, terms, asked.options(terms), shards)
    if gathers and is_done and not ending.cancelled:
        outcome = _gathered(run, submission, outcome, tick)
    replace(outcome, ended=time.time()).write(run, submission.number)
    return successors


def _next_attempts(
    undone: Sequence[ShardStatus], ending: Ending, terms: Terms, retry: RetrySettings
) -> dict[Terms, set[int]]:
    """The shards that are worth another attempt, by the terms of that: those with different terms are kept apart."""
    alike: dict[tuple[AnyFailureKind | None, bool], list[int]] = {}
    for state in undone:
        how = (state.failure.kind, False) if state.failure else (None, state.recent > 0)
        alike.setdefault(how, []).append(state.shard.index)
    found: dict[Terms, set[int]] = {}
    for (kind, progress), shards in alike.items():
        had = [ending.allocations.get(shard, Allocation()) for shard in shards]
        following = next_terms(kind, progress, terms, retry, had)
        if following:
            found.setdefault(following, set()).update(shards)
    return found


def _continue(
    run: RunDir, submission: Submission, terms: Terms, options: Mapping[str, str], shards: set[int]
) -> list[Submission]:
    """Writes the submission that follows for these shards; none where a person's rerun has just taken them."""
    groups = tuple(kept for group in submission.groups if (kept := tuple(s for s in group if s in shards)))
    resources = replace(submission.resources, options=options, attempt=terms.attempt, continues=submission.number)
    successor = replace(
        submission, groups=groups, created=time.time(), resources=resources, job_ids=(), finalize_id=None
    )
    try:
        return [create(run, successor)]
    except RunError:
        return []


def _gathered(run: RunDir, submission: Submission, outcome: Outcome, tick: Callable[[], None]) -> Outcome:
    """Writes the result; returns the outcome, with what went wrong in it."""
    from jobs.gather.gather import gather

    output = submission.resources.output
    try:
        gather(run, output=Path(output) if output else None, progress=lambda done, total: tick())
    except Cancelled:
        return replace(outcome, cancelled=True)
    except BusyError:  # another submission's end, or a person, is writing it
        return outcome
    except (LauncherError, OSError) as error:
        print(f"gather: {error}", flush=True)
        return replace(outcome, error=str(error) or type(error).__name__)
    return outcome
