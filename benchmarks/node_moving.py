"""Moving: samples of 600 KB, from where they are loaded to where they are processed: MB/s beside plain copying."""

from benchmarks.blocks import BYTES
from benchmarks.contest import Entry, Outcome, median, spread
from benchmarks.ours import Ours
from benchmarks.peer import Peer
from benchmarks.section import Bench, Section, at_least
from benchmarks.work import Case

_OURS = Ours(1, 2)
_MEMCPY, _LOADER = "2 processes that copy between warm pages", "DataLoader, 2 workers"


def moving(bench: Bench) -> Section:
    def case(count: int) -> Case:
        return Case("benchmarks.blocks:Blocks", bench.data("blocks"), count)

    entries = {
        _MEMCPY: Entry(Peer("memcpy"), case(20_000)),
        str(_OURS): Entry(_OURS, case(20_000)),
        # Their rates do not depend on the number.
        _LOADER: Entry(Peer("loader"), case(5_000)),
        "torch queue, a tensor an item, 2 loaders": Entry(Peer("torch_queue"), case(3_000)),
        "mp.Queue, a sample an item, 2 loaders": Entry(Peer("queue"), case(1_500)),
    }
    outcomes = bench.hold(entries, 5)
    rates = {name: [_rate(run, entries[name].case.count) for run in runs] for name, runs in outcomes.items()}
    medians = {name: median(found) for name, found in rates.items()}
    text = (
        "Samples of 602 KB that cost nothing to load go in batches of 16 from 2 pool workers to one process, which reads a "
        "value of each page. In our figure are collate (samples into a batch), the copy into shared memory, process, "
        "results, hashes, journal, and the last sync; in that of the peers their way to a stacked batch, and process. "
        "Copying is one read and one write of each byte by each of 2 processes, with nothing handed over."
    )
    head = ("design", "MB/s", "(least to most)", "share of copying", "times DataLoader")
    rows = [
        [
            name,
            f"{rate:,.0f}",
            spread(rates[name], 0),
            f"{rate / medians[_MEMCPY]:.2f}",
            f"{rate / medians[_LOADER]:.1f}",
        ]
        for name, rate in medians.items()
    ]
    ours = medians[str(_OURS)]
    goals = [
        at_least("share of 2 processes' copying", ours / medians[_MEMCPY], 0.55),
        at_least("times DataLoader", ours / medians[_LOADER], 9),
    ]
    return Section("Large samples", text, head, rows, goals)


def _rate(run: Outcome, count: int) -> float:
    return count * BYTES / run.steady / 1e6
