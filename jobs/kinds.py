"""Kinds and states: why a shard or a sample failed, and where shards, runs and attempts stand.

Journals, outcomes, results and JSON documents hold their text, so a member is never renamed. What a newer version wrote is
read as Unknown, its text kept: ``known(FailureKind, text)``.
"""

from enum import StrEnum
from typing import TypeAlias, TypeVar


class FailureKind(StrEnum):
    """Why an attempt failed, or gave up a shard."""

    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    TIMEOUT = "TIMEOUT"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    CANCELLED = "CANCELLED"
    LAUNCH = "LAUNCH"
    CRASH = "CRASH"
    ERROR = "ERROR"
    TOO_MANY_FAILED_SAMPLES = "TOO_MANY_FAILED_SAMPLES"
    DISK = "DISK"
    LOST = "LOST"
    STALLED = "STALLED"


class SampleFailureKind(StrEnum):
    """Why a sample failed for good."""

    LOAD = "LOAD"
    PROCESS = "PROCESS"
    CRASH = "CRASH"
    SAMPLE_TIMEOUT = "SAMPLE_TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"


class EndReason(StrEnum):
    """Why an attempt ended: there was nothing left for it to do, it had to leave and others can go on, or it failed."""

    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


class ShardState(StrEnum):
    """Where a shard stands."""

    DONE = "done"
    RUNNING = "running"
    PENDING = "pending"
    FAILED = "failed"


class RunState(StrEnum):
    """Where a run stands."""

    PLANNED = "planned"
    RUNNING = "running"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Unknown(str):
    """The text of a kind or state that only a newer version knows."""

    __slots__ = ()


AnyFailureKind: TypeAlias = FailureKind | SampleFailureKind | Unknown

_Words = TypeVar("_Words", bound=StrEnum)


def known(words: type[_Words], text: str) -> _Words | Unknown:
    """The member of ``words`` that has this text."""
    try:
        return words(text)
    except ValueError:
        return Unknown(text)
