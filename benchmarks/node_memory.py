"""Memory: what a run takes at its peak, from a thousand samples to a million."""

from benchmarks.contest import Contestant, Entry, median
from benchmarks.memory import peak
from benchmarks.ours import Ours
from benchmarks.peer import Peer
from benchmarks.section import Bench, Goal, Section
from benchmarks.work import Case

_OURS = Ours(1, 2)
_SIZES = (1_000, 10_000, 100_000, 1_000_000)
_FLAT = 1.1
_DESIGNS: dict[str, Contestant] = {str(_OURS): _OURS, "Pool.map, chunks of 1,000": Peer("pool_map")}


def run_memory(bench: Bench) -> Section:
    entries = {
        f"{name}: {size}": Entry(design, Case("benchmarks.vectors:Vectors", bench.data("vectors"), size), watch=peak)
        for name, design in _DESIGNS.items()
        for size in _SIZES
    }
    outcomes = bench.hold(entries, 2)
    found = {name: [median(run.seen for run in outcomes[f"{name}: {size}"]) for size in _SIZES] for name in _DESIGNS}
    text = (
        "MiB of a run and all its children at the peak (proportional set size, looked at every 10 ms), by the number of tiny "
        "samples. Without the pages of files, which the kernel drops when memory gets short: those of libraries, and of our "
        "manifest, 8 MB for 1,000,000 samples, which is mapped and not loaded."
    )
    rows = [[name, *(f"{mebibytes:.0f}" for mebibytes in line)] for name, line in found.items()]
    ours = found[str(_OURS)]
    goal = Goal(
        f"from 1e3 to 1e6 samples: at most {_FLAT} times",
        f"{max(ours) / min(ours):.2f}",
        max(ours) <= _FLAT * min(ours),
    )
    return Section("Memory of a run", text, ("design", *(f"{size:,}" for size in _SIZES)), rows, [goal])
