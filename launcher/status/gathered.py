"""Gathered: whether a result is of what is stored now, by the seal that it carries, or by its age where it has none."""

import os
from pathlib import Path

from jobs.storage.attempts import Attempt
from jobs.storage.plans import Plan
from jobs.storage.records import Part
from jobs.storage.seals import HDF5, seal_of
from launcher.runs.result_place import ResultPlace
from launcher.runs.shard_states import Shards

# Of results without a seal: the file server's clock may be behind a node's by this much; seconds.
_CLOCK_SKEW = 2.0


def is_gathered(plan: Plan, result: ResultPlace, shards: Shards) -> bool:
    """Whether it is the result of what is stored: no other run's, and of all rows as they are now."""
    try:
        seal = result.seal
    except OSError:
        return False
    if seal is None:
        return _is_newer(result.part, result.path, shards)
    return seal == seal_of(plan.fingerprint, result.part, shards.owners)


def _is_newer(part: Part, result: Path, shards: Shards) -> bool:
    """Whether a result by an older version is newer than all that counts."""
    with result.open("rb") as file:
        if file.read(len(HDF5)) != HDF5:
            return False
        written = os.fstat(file.fileno()).st_mtime
    own = (one.attempt for one in shards.owners if one.rows.within(part.start, part.stop))
    return all(one.beat.advanced <= written + _CLOCK_SKEW or _was_over(one, written) for one in own)


def _was_over(attempt: Attempt, written: float) -> bool:
    """Whether an attempt wrote nothing after that, by the clock of the file server: its node's may be far ahead."""
    try:
        return attempt.is_over and attempt.journal.stat().st_mtime <= written
    except FileNotFoundError:
        return False
