"""Takeover: which rows an idle attempt takes from another. Pure: it knows claims and last beats, no files and no clock.

From one that is over it takes all that is left; from one at work, the part of the rest that it would do sooner.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from jobs.storage.beats import Beat
from jobs.storage.claims import Claim, holdings
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Range, Spans, union

# Of the claims that begin at one row, so many may come to nothing: a batch that kills whoever touches it must not take
# the whole array with it. It is then left to the next submission.
_STARTS = 3
# Seconds of work that are worth a claim, and how many times its set-up.
_WORTH = 2.0
_SETUPS = 2.0


class Stretch(NamedTuple):
    """Rows up to ``stop`` that a claim covers in one piece; of them, ``left`` are not closed by anybody yet.

    ``claims`` are all those of its range.
    """

    claim: Claim
    stop: int
    left: Spans
    claims: tuple[Claim, ...]


class IdlePace(NamedTuple):
    """How an idle attempt works: rows a second (0: not known yet), and seconds until it could begin (None: not known)."""

    rate: float
    setup: float | None


class Rest:
    """What is left of a submission, and who has it, as claims and beats tell. ``rows`` are not closed: they only get fewer."""

    def __init__(self, work: Spans, table: ShardTable) -> None:
        self.rows = work
        self._table = table
        self._claims: dict[int, tuple[Claim, ...]] = {}
        self._pieces: dict[int, list[tuple[Claim, Range]]] = {}

    def learn_beats(self, beats: Collection[Beat]) -> None:
        """Takes out what is done, and what is left of the shards that somebody has given up."""
        shards = {one.shard for beat in beats for one in beat.given_up}
        self.rows -= union([*(beat.done for beat in beats), self._table.rows_of(shards)])

    def learn_claims(self, range_: int, claims: Iterable[Claim]) -> None:
        """All of a range."""
        some = tuple(claims)
        if some != self._claims.get(range_):
            self._claims[range_] = some
            self._pieces[range_] = [(claim, piece) for claim, held in holdings(some).items() for piece in held]

    def knows(self, range_: int, numbers: Collection[int]) -> bool:
        """Whether these are the claims that were learned of it, and one of them covers rows."""
        return len(numbers) == len(self._claims.get(range_, ())) and not self.is_unwritten(range_)

    def is_unwritten(self, range_: int) -> bool:
        """Whether somebody began to claim it, and no claim that is known covers a row of it."""
        return all(claim.start == claim.stop for claim in self._claims.get(range_, ()))

    def next_number(self, range_: int) -> int:
        """Of a claim of it."""
        return max(claim.number for claim in self._claims[range_]) + 1

    def stretches(self, ranges: Iterable[int]) -> list[Stretch]:
        """Where somebody has rows of these ranges that are left."""
        found = [
            Stretch(claim, stop, self.rows.within(start, stop), self._claims[range_])
            for range_ in ranges
            for claim, (start, stop) in self._pieces.get(range_, ())
        ]
        return [stretch for stretch in found if stretch.left]


def inherited(stretch: Stretch, table: ShardTable) -> Claim | None:
    """All that is left of one that is over, as a claim of nobody yet; None where others have come to nothing there."""
    start = table.batch_at(stretch.left.first)[0]
    begun = sum(claim.start == start for claim in stretch.claims)
    return None if begun >= _STARTS else _next(stretch, start)


def split(stretch: Stretch, beat: Beat, pace: IdlePace, margin: float, table: ShardTable) -> Claim | None:
    """The end of what one at work has left, as a claim of nobody yet; None where that is not worth it.

    ``margin`` is for how many seconds from its last beat on it goes on before it sees the claim.
    """
    ahead = _ahead(stretch, beat)
    rest = ahead - ahead.take(round(beat.rate * margin))
    setup = beat.setup if pace.setup is None else pace.setup
    if not beat.rate or rest.count <= beat.rate * (_WORTH + _SETUPS * setup):
        return None  # how fast it is will be known later, or it is soon done
    theirs = beat.rate / (beat.rate + (pace.rate or beat.rate))
    kept = rest.take(round(rest.count * theirs))
    if kept == rest:
        return None
    start = _nearest_batch(kept.stop if kept else rest.first, rest.first, table)
    return _next(stretch, start) if start < rest.stop else None


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


def _next(stretch: Stretch, start: int) -> Claim:
    newest = max(claim.number for claim in stretch.claims)
    return Claim(stretch.claim.range, newest + 1, "", start, stretch.stop)
