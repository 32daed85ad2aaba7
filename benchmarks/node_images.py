"""Images: 2,000 JPEGs, each used four times, decoded and computed on: how much of the machine each design uses.

A run over the files once lasts less than a second, of which what a shard costs once (its file, its last sync) is a
few hundredths; four times over, it is the steady state that counts.
"""

from collections.abc import Iterable, Mapping

from benchmarks.contest import Entry, Outcome, Outcomes, cores, median, spread
from benchmarks.images import COUNT, DEVICE_SECONDS, make_images
from benchmarks.ours import Ours
from benchmarks.peer import Peer
from benchmarks.peers import has_ray
from benchmarks.section import Bench, Goal, Section, at_least, steady
from benchmarks.work import Case

_ROUNDS = 4
_BARE = ("the bare work, one process", "the bare work, once more")
_ALONE = "the device alone, all batches loaded before"
# Ours takes part in each repetition; the peers, which nothing depends on, in some.
_SELDOM = 5
_HEAD = ("design", "images/s, steady", "share of the ideal", "(least to most)", "runs", "whole run, s")


def images(bench: Bench) -> Section:
    """Decode and a small network, both on the CPU."""
    case = Case("benchmarks.images:Images", bench.data("images", make_images), COUNT * _ROUNDS)
    peers = {
        "DataLoader, 2 workers": Peer("loader"),
        "a queue item per sample, 2 loaders": Peer("queue"),
        "Pool.map loads, then the network": Peer("pool_map"),
        **({"Ray Data, with the start of its tasks": Peer("ray_data")} if has_ray() else {}),
    }
    # Once over the files: its CPU seconds are counted. Before and after ours, as the machine's speed changes meanwhile.
    before, after = ({name: Entry(Peer("bare"), Case(case.work, case.folder, COUNT))} for name in _BARE)
    entries = {
        **before,
        **{str(ours): Entry(ours, case) for ours in bench.settings},
        "two bare processes, fixed halves, nothing stored": Entry(Peer("halves"), case),
        **after,
        "array_split over 2 processes": Entry(Peer("array_split"), case, _SELDOM),
        **{name: Entry(peer, case, _SELDOM) for name, peer in peers.items()},
    }
    outcomes = bench.hold(entries, 10)
    bare = zip(*(outcomes.pop(name) for name in _BARE), strict=True)
    ideals = {first.repetition: (first.cpu + second.cpu) / 2 * _ROUNDS / cores() for first, second in bare}
    text = (
        f"{COUNT:,} JPEGs of 256 x 256 pixels, each used {_ROUNDS} times, are decoded to uint8 [3, 224, 224], in batches of "
        f"32, and embedded by three convolutions. The ideal is the CPU seconds of the bare work over the cores: "
        f"{median(ideals.values()):.2f} s, measured twice in each repetition."
    )
    rows = [_row(name, runs, case.count, ideals) for name, runs in outcomes.items()]
    goals = _goals(outcomes, bench.settings[:1], ideals, 0.93)
    return Section("JPEGs and a small network on the CPU", text, _HEAD, rows, goals)


def device(bench: Bench) -> Section:
    """Decode on the CPU, while a device computes: the process sleeps."""
    case = Case("benchmarks.images:ImagesOnDevice", bench.data("images", make_images), COUNT * _ROUNDS)
    settings = (Ours(1, 2), Ours(2, 1))
    entries = {
        **{str(ours): Entry(ours, case) for ours in settings},
        # Once over the files, which must fit into the memory.
        _ALONE: Entry(Peer("loaded_before"), Case(case.work, case.folder, COUNT)),
        "DataLoader, 2 workers": Entry(Peer("loader"), case, _SELDOM),
        "a queue item per sample, 2 loaders": Entry(Peer("queue"), case, _SELDOM),
        "array_split over 2 processes": Entry(Peer("array_split"), case, _SELDOM),
    }
    outcomes = bench.hold(entries, 3)
    alone = {run.repetition: run.steady * _ROUNDS for run in outcomes.pop(_ALONE)}
    devices = {str(Ours(2, 1)): 2, "array_split over 2 processes": 2}
    text = (
        f"The same files, but process() sleeps {DEVICE_SECONDS * 1e3:g} ms a sample, as it does while a device computes. "
        f"The ideal is what the devices alone take, all batches loaded before, measured in each repetition: "
        f"{median(alone.values()):.2f} s for one process, {case.count * DEVICE_SECONDS:.2f} s of it what it asks to sleep, the "
        "rest how much later it wakes up."
    )
    rows, goals = [], []
    for name, runs in outcomes.items():
        ideals = {repetition: seconds / devices.get(name, 1) for repetition, seconds in alone.items()}
        rows.append(_row(name, runs, case.count, ideals))
        goals += _goals(outcomes, [ours for ours in settings if str(ours) == name], ideals, 0.98)
    return Section("JPEGs, while a device computes", text, _HEAD, rows, goals)


def _shares(runs: list[Outcome], ideals: Mapping[int, float]) -> list[float]:
    return [ideals[run.repetition] / run.steady for run in runs]


def _goals(outcomes: Outcomes, settings: Iterable[Ours], ideals: Mapping[int, float], bound: float) -> list[Goal]:
    shares = {str(ours): median(_shares(outcomes[str(ours)], ideals)) for ours in settings}
    return [at_least(f"{name}, share of the ideal", share, bound) for name, share in shares.items()]


def _row(name: str, runs: list[Outcome], count: int, ideals: Mapping[int, float]) -> list[str]:
    shares = _shares(runs, ideals)
    rate, wall = count / steady({name: runs}, name), median(run.wall for run in runs)
    return [name, f"{rate:,.0f}", f"{median(shares):.2f}", spread(shares), str(len(runs)), f"{wall:.2f}"]
