"""Causes: what a kind of failure means: who is to blame, whether another attempt helps, and what the user can do. Pure.

The one table of kinds; mypy finds one that is missing here.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import assert_never

from jobs.kinds import AnyFailureKind, FailureKind, SampleFailureKind, Unknown


class Blame(StrEnum):
    """Whose doing a failure is; the words of ``status --json``."""

    JOB = auto()
    SAMPLES = auto()
    NODE = auto()
    SCHEDULER = auto()
    USER = auto()
    SITE = auto()
    UNKNOWN = auto()


class NextAttempt(Enum):
    """What another attempt must get to end differently, if the user changes nothing. NONE: it would fail the same way."""

    NONE = auto()
    THE_SAME = auto()
    MORE_MEMORY = auto()
    MORE_TIME = auto()
    ANOTHER_NODE = auto()


@dataclass(frozen=True)
class Cause:
    """What a kind means. Where it does not cost an attempt, the failed one does not count towards ``retry.attempts``.

    ``advice`` has the fields rerun (the command), or_anew (its flags once the code has changed), run, shard, mem (how much
    to ask for) and why, and or_allow (with a failure budget that suffices, where few have failed); an executor may have advice
    of its own.
    """

    blame: Blame
    next_attempt: NextAttempt
    advice: str
    costs_attempt: bool = True


SAMPLES_AGAIN = "to try these samples again: {rerun}"


def cause(kind: AnyFailureKind) -> Cause:
    """What a failure of a shard, or of a sample, means."""
    if isinstance(kind, SampleFailureKind):
        return _cause_of_sample(kind)
    job, node, no_attempt, same = Blame.JOB, Blame.NODE, NextAttempt.NONE, NextAttempt.THE_SAME
    match kind:
        case FailureKind.OUT_OF_MEMORY:
            advice = "give it more memory ({why}): {rerun} --mem {mem}"
            return Cause(job, NextAttempt.MORE_MEMORY, advice)
        case FailureKind.TIMEOUT:  # with progress a time limit is no failure
            advice = "give it more time, it goes on where it stopped: {rerun} --time 4:00:00"
            return Cause(job, NextAttempt.MORE_TIME, advice)
        case FailureKind.NODE_FAIL:
            return Cause(node, NextAttempt.ANOTHER_NODE, "the node failed, not the job: {rerun}")
        case FailureKind.PREEMPTED:  # Slurm requeues most of these itself
            return Cause(Blame.SCHEDULER, same, "another job took the node: {rerun}", costs_attempt=False)
        case FailureKind.CANCELLED:
            return Cause(Blame.USER, no_attempt, "it was cancelled; to go on: {rerun}")
        case FailureKind.LAUNCH:
            advice = "the task never started: launcher logs {run} {shard}, then: {rerun}"
            return Cause(node, NextAttempt.ANOTHER_NODE, advice)
        case FailureKind.CRASH:
            advice = "a process was killed or crashed (memory, a native library?): launcher logs {run} {shard}; then: {rerun}"
            return Cause(job, same, advice)
        case FailureKind.ERROR:
            advice = "the Job failed: launcher logs {run} {shard}; correct it, then: {rerun}{or_anew}"
            return Cause(job, no_attempt, advice)
        case FailureKind.TOO_MANY_FAILED_SAMPLES:
            advice = "correct the samples' cause (below), then: {rerun}{or_allow}"
            return Cause(Blame.SAMPLES, no_attempt, advice)
        case FailureKind.DISK:
            return Cause(Blame.SITE, no_attempt, "make room (disk, quota) or mend the file system, then: {rerun}")
        case FailureKind.LOST:
            return Cause(Blame.UNKNOWN, same, "the task ended without a word (a reboot, kill -9): {rerun}")
        case FailureKind.STALLED:
            advice = "it got nothing done for long (a device, a file system?): launcher logs {run} {shard}; {rerun}, or where "
            return Cause(node, NextAttempt.ANOTHER_NODE, f"{advice}batches take so long: --set retry.stall=2:00:00")
        case Unknown():
            advice = "a newer version of the launcher knows this kind: launcher logs {run} {shard}; then: {rerun}"
            return Cause(Blame.UNKNOWN, no_attempt, advice)
        case _:
            assert_never(kind)


def _cause_of_sample(kind: SampleFailureKind) -> Cause:
    """An array task has tried the sample again already."""
    match kind:
        case SampleFailureKind.LOAD | SampleFailureKind.PROCESS | SampleFailureKind.CRASH:
            return Cause(Blame.SAMPLES, NextAttempt.NONE, SAMPLES_AGAIN)
        case SampleFailureKind.SAMPLE_TIMEOUT:
            advice = "to allow more time and try again: {rerun} --set node.sample_timeout=3600"
            return Cause(Blame.SAMPLES, NextAttempt.NONE, advice)
        case SampleFailureKind.OUT_OF_MEMORY:
            advice = "to give more memory and try these samples again: {rerun} --mem {mem}"
            return Cause(Blame.SAMPLES, NextAttempt.NONE, advice)
        case _:
            assert_never(kind)
