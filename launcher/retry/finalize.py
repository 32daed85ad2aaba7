"""Finalize: what happens when all tasks of a submission have ended: try again within the retry policy, or gather.

Called by executors: by the local one's process, and by a scheduler's finalize job. It writes the outcome last, so a
submission without one counts as going on for as long as its executor may live.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobs.errors import BusyError, LauncherError, RunError
from jobs.storage.plans import Plan, Submission
from jobs.storage.rundir import RunDir
from launcher.runs.failures import COSTS_NO_ATTEMPT, RETRIED_WITH_MORE, Failure, is_retried
from launcher.runs.shard_states import ShardReader, ShardState
from launcher.runs.submissions import Outcome, SubmissionState, create


@dataclass(frozen=True)
class Ending:
    """What the executor saw: failures that no journal tells, by shard, and whether somebody cancelled it."""

    failures: Mapping[int, Failure] = field(default_factory=dict)
    cancelled: bool = False


class Cancelled(RunError):
    """Somebody cancelled the run while its result was written."""


# Shards that only have to go on: their task was told to leave. Where it got on, that may happen any number of times.
_NO_FAILURE = _PROGRESS, _NO_PROGRESS = ("progress", "")

Treatment = Callable[[str, Sequence[int]], dict[str, Any] | None]
"""Failure kind and shards -> resources that the next attempt gets beside those it had; None: it would end the same."""


def same_again(kind: str, shards: Sequence[int]) -> dict[str, Any] | None:
    """The treatment of an executor without limits to raise: nothing helps what ran out of something."""
    return None if kind in RETRIED_WITH_MORE else {}


def finalize(
    run: RunDir,
    plan: Plan,
    submission: Submission,
    ending: Ending,
    treat: Treatment = same_again,
    tick: Callable[[], None] = lambda: None,
    gathers: bool = True,
) -> list[Submission]:
    """Ends a submission; returns those that go on with what failed, for the executor to start.

    ``tick`` is called now and then while the result is written; it may raise Cancelled. Of submissions that ended
    together only the last one ``gathers``.
    """
    outcome = Outcome(time.time(), ending.cancelled, dict(ending.failures))
    states = ShardReader(run, plan).read({s: SubmissionState(submission, outcome, False) for s in submission.shards})
    unfinished = [states[shard] for shard in submission.shards if states[shard].state != "done"]
    successors = [] if ending.cancelled else _retry(run, submission, unfinished, treat)
    if gathers and not successors and not ending.cancelled and all(state.state == "done" for state in states):
        outcome = _gathered(run, submission, outcome, tick)
    replace(outcome, ended=time.time()).write(run, submission.number)
    return successors


def _retry(run: RunDir, submission: Submission, unfinished: Sequence[ShardState], treat: Treatment) -> list[Submission]:
    """The next attempts at what is worth one: shards that need different things go into different submissions."""
    by_kind: dict[str, list[int]] = {}
    for state in unfinished:
        by_kind.setdefault(_kind(state), []).append(state.shard.index)
    again: dict[str, tuple[dict[str, Any], set[int]]] = {}
    for kind, shards in by_kind.items():
        resources = _next_resources(submission, kind, shards, treat)
        if resources is not None:
            again.setdefault(repr(resources), (resources, set()))[1].update(shards)
    return [made for resources, shards in again.values() for made in _continue(run, submission, resources, shards)]


def _kind(state: ShardState) -> str:
    if state.failure:
        return state.failure.kind
    return _PROGRESS if state.recent else _NO_PROGRESS


def _next_resources(
    submission: Submission, kind: str, shards: Sequence[int], treat: Treatment
) -> dict[str, Any] | None:
    """What the next attempt at these shards gets; None where there is none."""
    if kind not in _NO_FAILURE and not is_retried(kind, can_give_more=True):
        return None
    attempt = submission.resources.get("attempt", 1) + (kind not in COSTS_NO_ATTEMPT | {_PROGRESS})
    if attempt > submission.resources.get("attempts", 1):
        return None
    more = treat(kind, shards)
    return (
        None if more is None else {**submission.resources, **more, "attempt": attempt, "continues": submission.number}
    )


def _continue(run: RunDir, submission: Submission, resources: dict[str, Any], shards: set[int]) -> list[Submission]:
    """Writes the submission that follows for these shards; none where a person's rerun has just taken them."""
    groups = tuple(kept for group in submission.groups if (kept := tuple(s for s in group if s in shards)))
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

    output = submission.resources.get("output")
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
