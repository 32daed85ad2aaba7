"""Sharding: rows or costs -> Shards. Pure, no files.

Every split is contiguous, keeps the order, covers each row once and has no empty shard: with fewer rows than shards
there are as many shards as rows, so the length of what comes back is the number of shards.
"""

import itertools
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jobs.errors import InputError
from jobs.storage.shard_table import Shard, no_shard
from launcher.plan.cutting import share_out

# Boundaries of large shards lie on multiples of this many rows: a shard's part of the result then starts on a
# 4096-byte page (rows of a multiple of 4 bytes), and file systems that share blocks need not copy it.
ALIGNMENT = 1024
_ALIGN_FROM = 16 * ALIGNMENT
_SEARCH_TOLERANCE = 1e-3
_ALIGNED_EXCESS = 1.04  # with the search tolerance, still within 5% of the best
_ROUNDING = 1 + 1e-9

Floats = npt.NDArray[np.float64]


def default_shards(rows: int) -> int:
    """Shards for a config that does not say: up to 64 of about 100 rows or more, then of up to 10,000.

    At most 1000 shards: an array of that size fits Slurm's default MaxArraySize of 1001.
    """
    return max(min(64, -(-rows // 100)), min(1000, -(-rows // 10_000)))


def split_parts(
    rows: Sequence[int], shards: int | None, samples_per_shard: int | None, costs: Floats | None = None
) -> tuple[int, ...]:
    """The first row of each shard of all parts and, last, the number of rows; no shard lies in two parts.

    ``rows`` has the rows of each part, ``costs`` the cost of each row of all parts, float64 [sum(rows)]. With
    ``samples_per_shard`` each part has shards of that size, or as many by cost. Otherwise ``shards`` (None:
    default_shards) are shared out among the parts.
    """
    starts = [0, *itertools.accumulate(rows)]
    pieces = None if costs is None else [costs[start:stop] for start, stop in itertools.pairwise(starts)]
    if samples_per_shard is None:
        weights = [float(count) for count in rows] if pieces is None else _weights(pieces)
        counts = share_out(shards or default_shards(starts[-1]), weights, rows)
    else:
        counts = tuple(-(-count // samples_per_shard) for count in rows)
    boundaries = [0]
    for number, (count, start) in enumerate(zip(counts, starts, strict=False)):
        if pieces is not None:
            split = split_by_cost(pieces[number], max(count, 1))
        elif samples_per_shard is not None:
            split = split_by_size(rows[number], samples_per_shard)
        else:
            split = split_evenly(rows[number], max(count, 1))
        boundaries += [start + shard.stop for shard in split]
    return tuple(boundaries)


def _weights(pieces: Sequence[Floats]) -> list[float]:
    """The sums of costs, all against one power of two: those of costs near the largest float are none."""
    exponent = max(int(np.frexp(np.max(piece, initial=0.0))[1]) for piece in pieces)
    return [float(np.ldexp(piece, -exponent).sum()) for piece in pieces]


def split_evenly(rows: int, shards: int) -> tuple[Shard, ...]:
    """``min(rows, shards)`` shards whose sizes differ by at most 1 row; by 2 x ALIGNMENT where large."""
    _check_counts(rows, shards)
    count = min(rows, shards)
    boundaries = [number * rows // count for number in range(1, count)]
    if count and rows // count >= _ALIGN_FROM:
        boundaries = [_aligned(boundary) for boundary in boundaries]
    return _shards([0, *boundaries, rows])


def split_by_size(rows: int, samples_per_shard: int) -> tuple[Shard, ...]:
    """``ceil(rows / samples_per_shard)`` shards of that size, the last one smaller.

    Boundaries of large shards are rounded down to ALIGNMENT, so their sizes differ from it by less than that.
    """
    _check_counts(rows, samples_per_shard)
    boundaries = range(samples_per_shard, rows, samples_per_shard)
    if samples_per_shard >= _ALIGN_FROM:
        return _shards([0, *(boundary // ALIGNMENT * ALIGNMENT for boundary in boundaries), rows])
    return _shards([0, *boundaries, rows])


def split_by_cost(costs: Floats, shards: int) -> tuple[Shard, ...]:
    """``min(rows, shards)`` shards; the dearest one costs at most 5% more than in the best such split.

    ``costs`` has one finite number from 0 for each row, float64 [rows]. The bottleneck is found by bisection
    with a greedy check, O(shards log rows) a step (Pinar and Aykanat, "Fast optimal load balancing algorithms
    for 1D partitioning", 2004). Within it the boundaries aim at equal costs.
    """
    _check_counts(len(costs), shards)
    highest = float(np.max(costs, initial=0.0))
    if not np.isfinite(highest) or float(np.min(costs, initial=0.0)) < 0:
        raise ValueError("costs must be finite and at least 0")
    if highest == 0 or len(costs) <= shards:
        return split_evenly(len(costs), shards)
    sums = np.concatenate(([0.0], np.cumsum(costs / highest)))
    boundaries = _even_boundaries(sums, shards, bottleneck := _bottleneck(sums, shards))
    if len(costs) // shards >= _ALIGN_FROM:
        boundaries = _align(sums, boundaries, bottleneck * _ALIGNED_EXCESS)
    return _shards(boundaries)


def _bottleneck(sums: Floats, shards: int) -> float:
    """The smallest cost, within the tolerance, that no shard need exceed; costs are at most 1."""
    low = max(1.0, float(sums[-1]) / shards)
    high = float(sums[-1]) / shards + 1.0
    if _fits(sums, shards, low):
        return low
    while high - low > _SEARCH_TOLERANCE * low:
        middle = (low + high) / 2
        low, high = (low, middle) if _fits(sums, shards, middle) else (middle, high)
    return high


def _fits(sums: Floats, shards: int, bottleneck: float) -> bool:
    row = 0
    for _ in range(shards):
        row = _reach(sums, row, bottleneck)
        if row == len(sums) - 1:
            return True
    return False


def _reach(sums: Floats, row: int, bottleneck: float) -> int:
    """The farthest end of a shard that starts at ``row`` and costs no more than the bottleneck."""
    return int(sums.searchsorted(sums[row] + bottleneck * _ROUNDING, side="right")) - 1


def _even_boundaries(sums: Floats, shards: int, bottleneck: float) -> list[int]:
    """Boundaries near equal costs, each where the rows on both its sides still fit the bottleneck."""
    rows = len(sums) - 1
    earliest = [rows]
    for _ in range(shards - 1):
        need = sums[earliest[-1]] - bottleneck * _ROUNDING
        earliest.append(int(sums.searchsorted(need, side="left")))
    boundaries = [0]
    for left in range(shards - 1, 0, -1):
        start = boundaries[-1]
        wanted = max(_even_boundary(sums, start, left + 1), earliest[left], start + 1)
        boundaries.append(min(wanted, _reach(sums, start, bottleneck), rows - left))
    return [*boundaries, rows]


def _even_boundary(sums: Floats, start: int, shards: int) -> int:
    """Where the first of ``shards`` equal shards from ``start`` on would end."""
    rows = len(sums) - 1
    target = sums[start] + (sums[rows] - sums[start]) / shards
    first = int(sums.searchsorted(target, side="left"))
    last = int(sums.searchsorted(target, side="right")) - 1
    if last >= first:  # the target is met exactly, maybe all along rows that cost nothing: share those out
        return min(max(start + (rows - start) // shards, first), last)
    return first if sums[first] - target < target - sums[first - 1] else first - 1


def _align(sums: Floats, boundaries: list[int], limit: float) -> list[int]:
    """The boundaries, each moved to a multiple of ALIGNMENT where both its shards stay within the limit."""
    aligned = boundaries.copy()
    for number in range(1, len(boundaries) - 1):
        before, after = aligned[number - 1], aligned[number + 1]
        moved = _aligned(aligned[number])
        if before < moved < after and max(sums[moved] - sums[before], sums[after] - sums[moved]) <= limit:
            aligned[number] = moved
    return aligned


def _aligned(row: int) -> int:
    return (row + ALIGNMENT // 2) // ALIGNMENT * ALIGNMENT


def _shards(boundaries: list[int]) -> tuple[Shard, ...]:
    pairs = itertools.pairwise(boundaries)
    return tuple(Shard(index, start, stop) for index, (start, stop) in enumerate(pairs) if stop > start)


def _check_counts(rows: int, count: int) -> None:
    if rows < 0 or count < 1:
        raise ValueError(f"cannot split {rows} rows by {count}")


def parse_ranges(text: str, total: int) -> tuple[int, ...]:
    """The numbers of ``3,7-9``, ascending, each once. Raises InputError unless all are below ``total``."""
    numbers: set[int] = set()
    for item in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:\s*-\s*(\d{1,18}))?\s*", item)
        if match is None:
            raise InputError(f"shards {text!r}: {item.strip()!r} is not a shard or a range; write them as in 3,7-9")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InputError(f"shards {text!r}: {item.strip()} goes backwards; write {last}-{first}")
        if last >= total:
            raise InputError(f"shards {text!r}: {no_shard(last, total)}")
        numbers.update(range(first, last + 1))
    return tuple(sorted(numbers))
