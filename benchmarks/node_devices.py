"""Devices: two of them, one four times slower than the other: how long until both are done.

The ideal is made of what each device alone takes: a sleep takes a little longer than it is asked to, for all designs alike.
"""

from benchmarks.contest import Entry, median, spread
from benchmarks.ours import Ours
from benchmarks.peer import Peer
from benchmarks.section import Bench, Section, at_most
from benchmarks.vectors import FAST_SECONDS, SLOWER
from benchmarks.work import Case

_COUNT = 4000
_OURS = Ours(2, 0)
# Device -> samples that it does alone.
_ALONE = {"UnequalDevices": 1600, "SlowDevice": 400}


def devices(bench: Bench) -> Section:
    case = Case("benchmarks.vectors:UnequalDevices", bench.data("vectors"), _COUNT)
    alone = {
        name: Entry(Peer("loaded_before"), Case(f"benchmarks.vectors:{name}", case.folder, count))
        for name, count in _ALONE.items()
    }
    entries = {
        **alone,
        str(_OURS): Entry(_OURS, case),
        "Pool.imap, a batch at a time": Entry(Peer("pool_imap"), case, 3),
        "array_split over 2 processes": Entry(Peer("array_split"), case, 3),
    }
    outcomes = bench.hold(entries, 3)
    rates = [[count / run.steady for run in outcomes.pop(name)] for name, count in _ALONE.items()]
    ideals = [_COUNT / sum(pair) for pair in zip(*rates, strict=True)]
    over = {name: [run.steady / ideals[run.repetition] for run in runs] for name, runs in outcomes.items()}
    text = (
        f"{_COUNT:,} samples in batches of 8; a sample takes {FAST_SECONDS * 1e3:g} ms of one device and "
        f"{SLOWER * FAST_SECONDS * 1e3:g} ms of the other (asleep). The ideal, both busy to the end at the rates that they "
        f"have alone, with all batches loaded before, measured in each repetition: {median(ideals):.2f} s, "
        f"{_COUNT * FAST_SECONDS * SLOWER / (1 + SLOWER):.2f} s of it what they ask to sleep."
    )
    rows = [[name, f"{median(found):.3f}", spread(found, 3)] for name, found in over.items()]
    goal = at_most("times the ideal", median(over[str(_OURS)]), 1.05)
    return Section("A slow and a fast device", text, ("design", "times the ideal", "(least to most)"), rows, [goal])
