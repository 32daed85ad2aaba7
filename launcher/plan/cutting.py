"""Cutting: the rows of a submission -> the ranges that its workers begin with. Pure, no files.

A shard weighs as much as any other, whatever its rows, since shards are made alike in cost; a batch weighs its part of that.
Ranges begin and end where batches do, and do not overlap; between the rows they may hold some that are not of the submission.
"""

import heapq
import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import NamedTuple

from jobs.storage.plans import Plan
from jobs.storage.spans import Range, Spans
from jobs.storage.submission import Submission

# Where samples are taken as another run does them, a worker begins with so many ranges: one begins when all of it is there.
# Many workers have fewer, and so many together: each has a file, and whoever waits looks at all of them.
_INFLOW_RANGES = 32
_INFLOW_RANGES_TOGETHER = 4096
# Side by side, each part is cut into about so many ranges at least where there are few workers: they take turns that often.
_TURNS = 8


def assign(plan: Plan, submission: Submission, rows: Spans, tasks: int, *, to_come: bool = False) -> Submission:
    """The submission with these rows for so many array tasks, fewer where there are not as many batches.

    ``to_come``: of some the samples are not there yet, but come from a run that goes on.
    """
    nodes = submission.resources.nodes_per_task or 1
    config = submission.resources.config or plan.config
    side_by_side = config.get("data", {}).get("order") == "parallel"
    if to_come:
        each = max(1, min(_INFLOW_RANGES, _INFLOW_RANGES_TOGETHER // (tasks * nodes)))
        ranges = cut(plan, rows, tasks * nodes * each)
    else:
        ranges = cut(plan, rows, tasks * nodes, side_by_side=side_by_side)
    return replace(submission, rows=rows, ranges=ranges, tasks=min(tasks, -(-len(ranges) // nodes)))


def cut(plan: Plan, rows: Spans, workers: int, *, side_by_side: bool = False) -> tuple[Range, ...]:
    """The ranges in which all rows lie; worker w begins with ranges w, w + workers ...

    Of several parts each is cut for all workers, one after another; ``side_by_side``: so that all of them advance together.
    """
    parts = [found for part in plan.results if (found := rows.within(part.start, part.stop))]
    if side_by_side and len(parts) > 1:
        return _side_by_side(plan, parts, workers)
    return tuple(itertools.chain.from_iterable(_cut(plan, part, workers) for part in parts))


def _side_by_side(plan: Plan, parts: Sequence[Spans], workers: int) -> tuple[Range, ...]:
    """As many ranges as let each worker have as many; each part in its own order, and done to the same share at any time."""
    pieces = [list(_pieces(plan, part)) for part in parts]
    weights = [sum(piece.weight for piece in own) for own in pieces]
    batches = [sum(piece.units for piece in own) for own in pieces]
    wanted = -(-_TURNS * len(parts) // workers) * workers
    counts = share_out(wanted, weights, batches)
    placed = [
        ((place + 0.5) / count, number, range_)
        for number, (part, count) in enumerate(zip(parts, counts, strict=True))
        for place, range_ in enumerate(_cut(plan, part, count))
    ]
    return tuple(range_ for *_, range_ in sorted(placed))


class _Piece(NamedTuple):
    """Rows ``[start, stop)`` of one shard: ``units`` of ``size`` rows, the last maybe smaller, are not cut."""

    shard: int
    start: int
    stop: int
    units: int
    size: int
    weight: float


def _pieces(plan: Plan, rows: Spans) -> Iterator[_Piece]:
    """Neighbouring rows of one shard; their units are batches."""
    size = plan.batch_size
    for start, stop in rows:
        shard = plan.table.shard_at(start)
        while start < stop:
            first, last = plan.boundaries[shard], plan.boundaries[shard + 1]
            end = min(stop, last)
            yield _Piece(shard, start, end, -(-(end - start) // size), size, (end - start) / (last - first))
            start, shard = end, shard + 1


def _whole_shards(pieces: Iterable[_Piece]) -> list[_Piece]:
    """The same rows, but a shard is one unit."""
    found = []
    for shard, group in itertools.groupby(pieces, attrgetter("shard")):
        own = list(group)
        start, stop = own[0].start, own[-1].stop
        found.append(_Piece(shard, start, stop, 1, stop - start, sum(piece.weight for piece in own)))
    return found


def _cut(plan: Plan, rows: Spans, count: int) -> list[Range]:
    """At most ``count`` ranges of equal weight, but for a unit; a shard is not cut where there are as many as ranges."""
    pieces = list(_pieces(plan, rows))
    shards = _whole_shards(pieces)
    if len(shards) == count:
        return [(shard.start, shard.stop) for shard in shards]
    return list(_even(shards if len(shards) >= count else pieces, count))


def _even(pieces: Sequence[_Piece], count: int) -> Iterator[Range]:
    ends = list(itertools.accumulate(piece.units for piece in pieces))
    sums = list(itertools.accumulate((piece.weight for piece in pieces), initial=0.0))
    count = min(count, ends[-1])
    cuts = [0]
    for number in range(1, count):
        wanted = _unit_at(pieces, ends, sums, sums[-1] * number / count)
        # At least one unit for this range, and for each that comes after it.
        cuts.append(min(max(wanted, cuts[-1] + 1), ends[-1] - (count - number)))
    for first, end in itertools.pairwise([*cuts, ends[-1]]):
        yield _rows_of(pieces, ends, first)[0], _rows_of(pieces, ends, end - 1)[1]


def _unit_at(pieces: Sequence[_Piece], ends: Sequence[int], sums: Sequence[float], weight: float) -> int:
    """The unit whose beginning is the nearest to where the weight before it is ``weight``."""
    number = min(bisect_right(sums, weight), len(pieces)) - 1
    piece = pieces[number]
    rows = (weight - sums[number]) / piece.weight * (piece.stop - piece.start)
    unit = min(int(rows // piece.size), piece.units - 1)
    before, after = rows - unit * piece.size, min((unit + 1) * piece.size, piece.stop - piece.start) - rows
    return ends[number] - piece.units + unit + (before > after)


def _rows_of(pieces: Sequence[_Piece], ends: Sequence[int], unit: int) -> Range:
    number = bisect_right(ends, unit)
    piece = pieces[number]
    start = piece.start + (unit - (ends[number] - piece.units)) * piece.size
    return start, min(start + piece.size, piece.stop)


def share_out(count: int, weights: Sequence[float], rows: Sequence[int]) -> tuple[int, ...]:
    """How many of ``count`` pieces each part gets, so that the heaviest piece is as light as can be.

    A part with rows has at least one piece and at most one a row; a part without has none. Each further piece goes to
    the part whose pieces are the heaviest now (the highest averages of Jefferson and D'Hondt, from one seat on).
    """
    counts = [min(number, 1) for number in rows]
    heaviest = [(-weight, part) for part, weight in enumerate(weights) if rows[part] > 1]
    heapq.heapify(heaviest)
    for _ in range(count - sum(counts)):
        if not heaviest:
            break
        _, part = heapq.heappop(heaviest)
        counts[part] += 1
        if counts[part] < rows[part]:
            heapq.heappush(heaviest, (-weights[part] / counts[part], part))
    return tuple(counts)
