"""Start: how long it takes until processes are ready, how much memory they take, and when the first batch is stored."""

import subprocess
import time
from pathlib import Path

from benchmarks.contest import Entry, Outcomes, median, spread
from benchmarks.memory import Idle
from benchmarks.ours import Ours
from benchmarks.peer import Peer, Plain
from benchmarks.plots import Plot
from benchmarks.section import Bench, Section, at_most
from benchmarks.work import Case

_MOST = 16
_IMPORT, _OURS, _SERVER, _SPAWN = "python -c 'import torch'", "ours", "forkserver with torch preloaded", "spawn"
_PASS = "python -c pass"
_JOURNALS = "run/*/*.journal"


def start(bench: Bench) -> Section:
    """Processes that need torch, until the last is ready; then, idle, their memory."""
    counts = (1, 4, _MOST)
    entries = {
        _IMPORT: Entry(Plain("import torch"), _torch_case(bench, 0)),
        **{_name(_OURS, n): _entry(bench, Ours(n, 0), n) for n in counts},
        **{_name(_SERVER, n): _entry(bench, _starter("forkserver", n), n) for n in counts},
        **{_name(_SPAWN, n): _entry(bench, _starter("spawn", n), n, every=3) for n in counts},
    }
    outcomes = bench.hold(entries, 3)
    base = median(run.wall for run in outcomes[_IMPORT])
    lines = {design: [(n, _ready(outcomes, _name(design, n))) for n in counts] for design in (_OURS, _SERVER, _SPAWN)}
    memory = {design: median(run.seen for run in outcomes[_name(design, _MOST)]) for design in lines}
    head = ("processes", *map(str, counts), f"times one import torch, {_MOST}", f"MiB each, {_MOST} idle")
    cells = {design: [f"{seconds:.2f}" for _, seconds in line] for design, line in lines.items()}
    rows = [[name, *cells[name], f"{line[-1][1] / base:.2f}", f"{memory[name]:.1f}"] for name, line in lines.items()]
    text = (
        f"Seconds from the start of the command until the last process has imported torch. One `{_IMPORT}`: {base:.2f} s. "
        "Memory is the proportional set size: what several have in common counts once.\n\n"
        "![seconds until ready by the number of processes](plots/start-up.svg)"
    )
    goals = [
        at_most(f"{_MOST} processes ready, times one import torch", lines[_OURS][-1][1] / base, 1.6),
        at_most(f"MiB of each of {_MOST} idle processes with torch", memory[_OURS], 25),
    ]
    plot = Plot(
        "start-up", "processes", "seconds until the last is ready", {**lines, _IMPORT: [(n, base) for n in counts]}
    )
    return Section("Starting processes that need torch", text, head, rows, goals, (plot,))


def _name(design: str, processes: int) -> str:
    return f"{design}: {processes}"


def _torch_case(bench: Bench, count: int) -> Case:
    return Case("benchmarks.vectors:TorchVectors", bench.data("vectors"), count)


def _starter(method: str, processes: int) -> Peer:
    return Peer(method, processes, "benchmarks.starters")


def _entry(bench: Bench, contestant: Ours | Peer, processes: int, every: int = 1) -> Entry:
    return Entry(contestant, _torch_case(bench, processes), every, Idle(processes), late=1)


def _ready(outcomes: Outcomes, name: str) -> float:
    return median(run.opened for run in outcomes[name])


def first_batch(bench: Bench) -> Section:
    """A Job without torch, until its first batch is committed."""
    case = Case("benchmarks.vectors:Vectors", bench.data("vectors"), 1000)
    settings = (Ours(1, 0), Ours(1, 2))
    peers = {"Pool.map, 2 processes": Peer("pool_map"), "DataLoader, 2 workers": Peer("loader")}
    entries = {
        _PASS: Entry(Plain("pass"), case),
        **{str(ours): Entry(ours, case, watch=committed) for ours in settings},
        **{name: Entry(peer, case) for name, peer in peers.items()},
    }
    outcomes = bench.hold(entries, 5)
    base = median(run.wall for run in outcomes[_PASS])
    first = {name: [run.end - base for run in runs] for name, runs in outcomes.items() if name in peers}
    first |= {str(ours): [run.seen - base for run in outcomes[str(ours)]] for ours in settings}
    rows = [[name, f"{median(found):.3f}", spread(found, 3)] for name, found in first.items()]
    text = (
        f"One batch of 1,000 tiny samples, from the start of the command; seconds over `{_PASS}` ({base:.3f} s). Ours: until "
        "its commit is in the journal; the peers: until it is in memory."
    )
    goals = [at_most(f"{ours}, s", median(first[str(ours)]), 0.35, " s") for ours in settings]
    return Section("The first batch of a Job without torch", text, ("design", "s", "(least to most)"), rows, goals)


def committed(process: "subprocess.Popen[bytes]", out: Path) -> float:
    """Seconds until a journal has a commit, of this version or one before."""
    began = time.monotonic()
    while process.poll() is None and not any(b'"type":"commit' in one.read_bytes() for one in out.glob(_JOURNALS)):
        time.sleep(0.002)
    return time.monotonic() - began
