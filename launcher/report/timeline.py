"""Timeline: when attempts and shards were at work, as bars. Pure.

Of very many the bars are of some of them, or of neighbours together: more than a screen has lines help nobody.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from jobs.kinds import ShardState
from jobs.storage.spans import Spans
from launcher.runs.endings import Ending, ending_of, why_of
from launcher.runs.history import History
from launcher.runs.holders import worker_of
from launcher.runs.shard_states import Shards

MOST_ATTEMPTS = 3000
MOST_SHARDS = 500


@dataclass(frozen=True)
class AttemptBar:
    """An attempt in line ``line`` of the plot; ``ready`` is when its processes were set up. Times are seconds."""

    line: int
    name: str
    node: str
    begin: float
    ready: float
    end: float
    ending: Ending
    why: str
    samples: int


@dataclass(frozen=True)
class ShardBar:
    """Shards ``[first, stop)``: from when their first rows were under way until the last ones were done.

    ``state`` is that of most of them; ``failed`` are some of them, or none.
    """

    first: int
    stop: int
    begin: float
    end: float
    state: ShardState
    failed: int


def attempt_bars(histories: Sequence[History], live: Collection[str]) -> tuple[list[AttemptBar], int]:
    """A line for each worker of each submission; and how many workers are left out, all of whose attempts went well."""
    of_worker: dict[tuple[int, int], list[History]] = {}
    for history in histories:
        key = history.attempt.submission, worker_of(history.attempt.name)
        of_worker.setdefault(key, []).append(history)
    workers = sorted(of_worker)
    shown = _some(workers, of_worker, live)
    bars = [
        _bar(line, history, live)
        for line, key in enumerate(shown)
        for history in sorted(of_worker[key], key=lambda one: one.begin)
    ]
    return bars, len(workers) - len(shown)


def _some(
    workers: Sequence[tuple[int, int]], of_worker: dict[tuple[int, int], list[History]], live: Collection[str]
) -> list[tuple[int, int]]:
    """Those with bad ends first, then some of the others, in their order."""
    if len(workers) <= MOST_ATTEMPTS:
        return list(workers)
    bad = [key for key in workers if any(ending_of(one.attempt, live).is_bad for one in of_worker[key])]
    bad = bad[: MOST_ATTEMPTS // 2]
    good = sorted(set(workers) - set(bad))
    return sorted([*bad, *good[:: -(-len(good) // (MOST_ATTEMPTS - len(bad)))]])


def _bar(line: int, history: History, live: Collection[str]) -> AttemptBar:
    beat = history.attempt.beat
    ready, ending = min(history.begin + beat.setup, history.end), ending_of(history.attempt, live)
    told = ending, why_of(history.attempt), beat.ok + beat.failed
    return AttemptBar(line, history.attempt.name, history.attempt.host, history.begin, ready, history.end, *told)


def shard_bars(histories: Sequence[History], shards: Shards, edges: Sequence[int]) -> list[ShardBar]:
    """Of neighbouring shards together where there are many; ``edges`` are the first row of each shard, and the end."""
    step = -(-len(shards) // MOST_SHARDS)
    spans: dict[int, tuple[float, float]] = {}
    for begin, end, start, stop in _steps(histories):
        for number in _bins(edges, step, start, stop):
            known = spans.get(number, (begin, end))
            spans[number] = min(known[0], begin), max(known[1], end)
    return [
        _shard_bar(first, stop, span, shards)
        for number, span in sorted(spans.items())
        for first, stop in [(number * step, min((number + 1) * step, len(shards)))]
    ]


def _steps(histories: Sequence[History]) -> Iterator[tuple[float, float, int, int]]:
    """Between two beats of an attempt, rows ``[start, stop)`` got done."""
    for history in histories:
        done, since = Spans(), history.begin
        for beat in history.beats:
            if beat.done.count != done.count:
                for start, stop in beat.done - done:
                    yield since, beat.advanced or beat.time, start, stop
                done = beat.done
            since = beat.time


def _bins(edges: Sequence[int], step: int, start: int, stop: int) -> range:
    return range((bisect_right(edges, start) - 1) // step, (bisect_left(edges, stop) - 1) // step + 1)


def _shard_bar(first: int, stop: int, span: tuple[float, float], shards: Shards) -> ShardBar:
    counts = {state: shards.in_state(state).within(first, stop).count for state in ShardState}
    most = max(ShardState, key=lambda state: (counts[state], state is ShardState.FAILED))
    return ShardBar(first, stop, *span, most, counts[ShardState.FAILED])
