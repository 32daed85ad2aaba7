"""Endings: how an attempt stands, or ended, in one word. Pure."""

from collections.abc import Collection
from enum import StrEnum

from jobs.kinds import EndReason
from jobs.storage.attempts import Attempt


class Ending(StrEnum):
    """LOST ended without a word; FAILED did too much of what it had, or gave up a shard."""

    DONE = "done"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"

    @property
    def is_bad(self) -> bool:
        """Whether it did not do what it was started for."""
        return self not in (Ending.DONE, Ending.RUNNING)


def ending_of(attempt: Attempt, live: Collection[str]) -> Ending:
    """``live`` are the names of attempts that go on."""
    beat = attempt.beat
    if beat.end is None:
        return Ending.RUNNING if attempt.name in live else Ending.LOST
    if beat.end == EndReason.DONE:
        return Ending.FAILED if beat.given_up else Ending.DONE
    return Ending.STOPPED if beat.end == EndReason.STOPPED else Ending.FAILED


def why_of(attempt: Attempt) -> str:
    """The kind and the message of what ended it, or of the first shard that it gave up; empty where it ended well."""
    beat = attempt.beat
    if beat.given_up and not beat.kind:
        first = beat.given_up[0]
        return f"gave up shard {first.shard}: {first.kind}: {first.message}"
    return ": ".join(map(str, filter(None, (beat.kind, beat.message))))
