"""History: what an attempt had done when, by all its beats, or some of very many; its journal is read once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.storage.attempts import Attempt
from jobs.storage.beats import Beat
from jobs.storage.journal import decode, is_of, read_lines

# Beats that are read of a run, about, however many there are: more points than a plot can show.
_MOST = 100_000
_LEAST_EACH = 4
_MOST_EACH = 400


@dataclass(frozen=True)
class History:
    """An attempt with its beats, ascending; the last of them is the one that counts."""

    attempt: Attempt
    beats: tuple[Beat, ...]

    @property
    def begin(self) -> float:
        """When it began, seconds since the epoch, as far as it tells."""
        start = self.attempt.start
        return start.time if start else (self.beats[0].time if self.beats else 0.0)

    @property
    def end(self) -> float:
        """When it was heard of last."""
        return max(self.begin, self.attempt.beat.time)

    @property
    def seconds(self) -> float:
        return self.attempt.beat.seconds or self.end - self.begin

    @property
    def points(self) -> Iterator[tuple[float, int]]:
        """When it had done how many samples; nothing before its processes were ready."""
        yield self.begin, 0
        if self.beats and (setup := self.beats[-1].setup):
            yield self.begin + setup, 0
        for beat in self.beats:
            if beat.ok + beat.failed:
                yield beat.advanced, beat.ok + beat.failed


def read_histories(attempts: Sequence[Attempt]) -> list[History]:
    """Those of all attempts that have begun to tell something, as they come."""
    most = min(_MOST_EACH, max(_LEAST_EACH, _MOST // max(len(attempts), 1)))
    known = (one for one in attempts if one.start or one.beat.time)
    return [History(one, tuple(_thinned(one, most))) for one in known]


def _thinned(attempt: Attempt, most: int) -> Iterator[Beat]:
    """At most so many of its beats, at even distances, and the last."""
    try:
        lines = [line for _, line in read_lines(attempt.journal) if is_of(line, Beat)]
    except FileNotFoundError:  # cleaned since
        lines = []
    for line in lines[: -1 : -(-len(lines) // most) or 1]:
        beat = decode(line)
        if isinstance(beat, Beat) and beat.number < attempt.beat.number:
            yield beat
    if attempt.beat.time:
        yield attempt.beat
