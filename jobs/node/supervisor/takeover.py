"""Takeover: which rows an idle attempt takes from another. Pure: it knows claims and last beats, no files and no clock.

From one that is over it takes all that is left; from one at work, the part of the rest that it would do sooner.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from jobs.storage.attempts import Attempt
from jobs.storage.claims import Claim, holdings
from jobs.storage.records import Beat
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Spans, union

# Of the claims that begin at one row, so many may come to nothing: a batch that kills whoever touches it must not take
# the whole array with it. It is then left to the next submission.
_STARTS = 3
# Seconds of work that are worth a claim, and how many times its set-up.
_WORTH = 2.0
_SETUPS = 2.0


class Stretch(NamedTuple):
    """Rows up to ``stop`` that a claim covers in one piece; of them, ``left`` are not closed by anybody yet."""

    claim: Claim
    stop: int
    left: Spans


class Pace(NamedTuple):
    """How an idle attempt works: rows a second (0: not known yet), and seconds until it could begin (None: not known)."""

    rate: float
    setup: float | None


def unclosed(work: Spans, attempts: Iterable[Attempt], table: ShardTable) -> Spans:
    """The rows of the work that no attempt has done, but for those of shards that one has given up."""
    beats = [attempt.beat for attempt in attempts]
    shards = {one.shard for beat in beats for one in beat.given_up}
    return work - union([*(beat.done for beat in beats), table.rows_of(shards)])


def stretches(claims: Iterable[Claim], open_: Spans) -> Iterator[Stretch]:
    """Where the open rows lie that somebody has claimed."""
    for claim, held in holdings(claims).items():
        for start, stop in held:
            if left := open_.within(start, stop):
                yield Stretch(claim, stop, left)


def inherited(stretch: Stretch, claims: Sequence[Claim], table: ShardTable) -> Claim | None:
    """All that is left of one that is over, as a claim of nobody yet; None where others have come to nothing there."""
    start = table.batch_at(stretch.left.first)[0]
    begun = sum((claim.range, claim.start) == (stretch.claim.range, start) for claim in claims)
    return None if begun >= _STARTS else _next(stretch, claims, start)


def split(
    stretch: Stretch, beat: Beat, pace: Pace, margin: float, claims: Sequence[Claim], table: ShardTable
) -> Claim | None:
    """The end of what one at work has left, as a claim of nobody yet; None where that is not worth it.

    ``margin`` is for how many seconds from its last beat on it goes on before it sees the claim.
    """
    ahead = _ahead(stretch, beat)
    rest = ahead - ahead.take(round(beat.rate * margin))
    setup = beat.setup if pace.setup is None else pace.setup
    if rest.count <= beat.rate * (_WORTH + _SETUPS * setup):
        return None
    theirs = beat.rate / (beat.rate + (pace.rate or beat.rate))
    kept = rest.take(round(rest.count * theirs))
    start = _nearest_batch(kept.stop if kept else rest.first, rest.first, table)
    return _next(stretch, claims, start) if start < rest.stop else None


def _ahead(stretch: Stretch, beat: Beat) -> Spans:
    """What is left and not begun, so far as the beat knows."""
    claim = stretch.claim
    known = [(held.range, held.claim) for held in beat.claims]
    if (claim.range, claim.number) not in known:
        return stretch.left
    if (claim.range, claim.number) != known[-1]:
        return Spans()  # it has gone on to another, so the last of this one is in work
    return stretch.left.within(beat.begun, stretch.stop)


def _nearest_batch(row: int, first: int, table: ShardTable) -> int:
    """The nearest first row of a batch that is not before ``first``."""
    start, stop = table.batch_at(row)
    return start if start >= first and 2 * (row - start) < stop - start else stop


def _next(stretch: Stretch, claims: Iterable[Claim], start: int) -> Claim:
    range_ = stretch.claim.range
    newest = max(claim.number for claim in claims if claim.range == range_)
    return Claim(range_, newest + 1, "", start, stretch.stop)
