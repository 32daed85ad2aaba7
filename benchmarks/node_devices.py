"""Devices: two of them, one four times slower than the other: how long until both are done."""

from benchmarks.contest import Entry, median, spread
from benchmarks.ours import Ours
from benchmarks.peer import Peer
from benchmarks.section import Bench, Section, at_most
from benchmarks.vectors import FAST_SECONDS, SLOWER
from benchmarks.work import Case

_COUNT = 4000
_OURS = Ours(2, 0)
_IDEAL = _COUNT * FAST_SECONDS * SLOWER / (1 + SLOWER)


def devices(bench: Bench) -> Section:
    case = Case("benchmarks.vectors:UnequalDevices", bench.data("vectors"), _COUNT)
    entries = {
        str(_OURS): Entry(_OURS, case),
        "Pool.imap, a batch at a time": Entry(Peer("pool_imap"), case, 3),
        "array_split over 2 processes": Entry(Peer("array_split"), case, 3),
    }
    outcomes = bench.hold(entries, 3)
    over = {name: [run.steady / _IDEAL for run in runs] for name, runs in outcomes.items()}
    text = (
        f"{_COUNT:,} samples in batches of 8; a sample takes {FAST_SECONDS * 1e3:g} ms of one device and "
        f"{SLOWER * FAST_SECONDS * 1e3:g} ms of the other (asleep). The ideal, both busy to the end: {_IDEAL:.2f} s."
    )
    rows = [[name, f"{median(found):.3f}", spread(found, 3)] for name, found in over.items()]
    goal = at_most("times the ideal", median(over[str(_OURS)]), 1.05)
    return Section("A slow and a fast device", text, ("design", "times the ideal", "(least to most)"), rows, [goal])
