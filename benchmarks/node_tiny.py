"""Tiny: samples of 16 floats and hardly any work: what each design costs a sample, from 10,000 of them on."""

from itertools import pairwise

from benchmarks.contest import Contestant, Entry, median
from benchmarks.ours import Ours
from benchmarks.peer import Peer
from benchmarks.plots import Plot
from benchmarks.section import Bench, Goal, Section, at_least, at_most, steady
from benchmarks.work import Case

_OURS = Ours(1, 2)
_MAIN = 1_000_000
_LOADER, _QUEUE = "DataLoader, batches of 1,000, 2 workers", "a queue item per sample, 2 loaders"
# How much the cost of a further sample may differ over these sizes and still be called flat. How long a shard takes to start
# and to end differs by 10 ms from minute to minute, a quarter of what 90,000 samples take: runs of 100,000 cannot tell.
_FLAT = 1.25
_STEPS = (10_000, 1_000_000, 10_000_000)
# Design -> most samples: a queue's rate is the same from 10,000 on, and 1,000,000 take it 12 s.
_PEERS = {
    "the bare work, one process": (Peer("bare"), _MAIN),
    _LOADER: (Peer("loader"), _MAIN),
    "Pool.map, chunks of 1,000": (Peer("pool_map"), _MAIN),
    _QUEUE: (Peer("queue"), 100_000),
}


def tiny(bench: Bench) -> Section:
    sizes = [10**power for power in range(4, 8) if 10**power <= bench.largest]
    designs: dict[str, tuple[Contestant, int]] = {str(_OURS): (_OURS, bench.largest), **_PEERS}
    names = {(name, size) for name, (_, most) in designs.items() for size in sizes if size <= most}
    entries = {
        f"{name}: {size}": Entry(
            designs[name][0], Case("benchmarks.vectors:Vectors", bench.data("vectors"), size), _every(name, size)
        )
        for name in designs
        for size in sizes
        if (name, size) in names
    }
    outcomes = bench.hold(entries, 15)
    seconds = {pair: steady(outcomes, f"{pair[0]}: {pair[1]}") for pair in names}
    costs = {
        name: [(size, seconds[name, size] / size * 1e6) for size in sizes if (name, size) in names] for name in designs
    }
    walls = {name: median(run.wall for run in outcomes[f"{name}: {line[-1][0]}"]) for name, line in costs.items()}
    rows = [
        [name, *_cells(line, sizes), f"{1e6 / line[-1][1]:,.0f}", f"{walls[name]:.2f}"] for name, line in costs.items()
    ]
    head = ("design", *(f"{size:,}" for size in sizes), "samples/s at the most", "whole run of these, s")
    plot = Plot("cost-per-sample", "samples", "µs a sample, steady", costs)
    return Section("Tiny samples", _TEXT, head, rows, _goals(costs), (plot,))


_TEXT = (
    "Samples of 16 float32 in batches of 1,000, and a Job without torch that does next to nothing: µs a sample, steady, by "
    "the number of samples. Ours is one process and 2 pool workers, and the whole path: results are written, hashed, "
    "journaled and synced, which at 10,000 samples is most of it.\n\n"
    "![µs a sample by the number of samples](plots/cost-per-sample.svg)"
)


def _every(name: str, size: int) -> int:
    """Our short runs are in every repetition: some milliseconds of noise are much of what a further sample costs there."""
    if size > _MAIN:
        return 5
    return 1 if size < _MAIN and name == str(_OURS) else 3


def _cells(line: list[tuple[int, float]], sizes: list[int]) -> list[str]:
    found = dict(line)
    return [f"{found[size]:.2f}" if size in found else "" for size in sizes]


def _goals(costs: dict[str, list[tuple[int, float]]]) -> list[Goal]:
    ours = costs[str(_OURS)]
    main = dict(ours).get(_MAIN, ours[-1][1])
    steps = [(size, cost) for size, cost in ours if size in _STEPS]
    further = [(b * m - a * n) / (m - n) for (n, a), (m, b) in pairwise(steps)]
    goals = [
        at_most("µs a sample", main, 1.2),
        at_least("times DataLoader, samples/s", costs[_LOADER][-1][1] / main, 4),
        at_least("times a queue item per sample, samples/s", costs[_QUEUE][-1][1] / main, 25),
    ]
    if len(further) > 1:
        shown = " ".join(f"{cost:.2f}" for cost in further)
        sizes = ", ".join(f"{size:,}" for size, _ in steps)
        text = f"a further sample, µs, from {sizes}: flat, the largest at most {_FLAT} times the smallest"
        goals.append(Goal(text, shown, max(further) <= _FLAT * min(further)))
    return goals
