"""Contest: ours and the peers in turns, their medians, and the table.

Used by the scripts node.py and tiny.py. Every contestant is a fresh process tree; each repetition runs all of them, in
another order and when the machine is quiet, so that what else it does hits all alike.
"""

import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.gate import Gate
from benchmarks.ours import plan_run, run_planned

_ROOT = Path(__file__).parents[1]
REPETITIONS = 5
# Share of the machine that must be idle before a run, over this many seconds; a busy one is used all the same, later.
_IDLE = 0.95
_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Outcome:
    """Seconds of one run: ``steady`` from the gate to the last result, ``wall`` from the start to the exit of the tree.

    ``cpu`` is the CPU seconds between gate and last result, measured for ``bare`` alone.
    """

    steady: float
    wall: float
    results: np.ndarray
    cpu: float = 0.0


Contestant = Callable[[str, Path, Path], Outcome]
"""(work, folder of its data, an empty folder) -> Outcome."""


def ours(processes: int, workers: int) -> Contestant:
    def run(work: str, folder: Path, out: Path) -> Outcome:
        planned = plan_run(work, folder, out, processes, workers)
        started = time.monotonic()
        run_planned(planned)
        wall = time.monotonic() - started
        return Outcome(planned.end() - planned.gate.opened(), wall, planned.results())

    return run


def peer(name: str) -> Contestant:
    def run(work: str, folder: Path, out: Path) -> Outcome:
        command = [sys.executable, "-m", "benchmarks.peers", name, work, str(folder), str(out)]
        started = time.monotonic()
        subprocess.run(command, cwd=_ROOT, check=True)
        wall = time.monotonic() - started
        end = float((out / "end").read_text())
        cpu = float((out / "cpu").read_text()) if (out / "cpu").exists() else 0.0
        return Outcome(end - Gate(out / "gate", 0).opened(), wall, np.load(out / "results.npy"), cpu)

    return run


def hold(
    contestants: dict[str, Contestant], work: str, folder: Path, repetitions: int = REPETITIONS
) -> dict[str, list[Outcome]]:
    """Runs all contestants ``repetitions`` times in turns; raises RuntimeError where their results differ."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in contestants}
    names = list(contestants)
    for repetition in range(repetitions):
        turn = repetition % len(names)
        for name in names[turn:] + names[:turn]:
            outcomes[name].append(_run(contestants[name], work, folder))
            print(f"{repetition + 1}/{repetitions} {name}: {outcomes[name][-1].steady:.2f} s", file=sys.stderr)
    _compare(outcomes)
    return outcomes


def await_quiet() -> None:
    """Returns when other programs leave the machine alone, or when that takes too long."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        before = _idle_seconds()
        time.sleep(_LOOK_SECONDS)
        if _idle_seconds() - before >= _IDLE * _LOOK_SECONDS * (os.cpu_count() or 1):
            return


def _idle_seconds() -> float:
    """Idle and I/O-waiting seconds of all cores since boot (/proc/stat, proc(5))."""
    fields = Path("/proc/stat").read_text().split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def _run(contestant: Contestant, work: str, folder: Path) -> Outcome:
    out = folder.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    (out / "gate").mkdir(parents=True)
    await_quiet()
    return contestant(work, folder, out)


def _compare(outcomes: dict[str, list[Outcome]]) -> None:
    """All must have computed the same; batches of other samples may round differently."""
    runs = [(name, outcome.results) for name, repeated in outcomes.items() for outcome in repeated]
    (first, reference), *others = runs
    for name, results in others:
        if results.shape != reference.shape or not np.allclose(results, reference, rtol=1e-4, atol=1e-6):
            raise RuntimeError(f"{name} and {first} computed different results")
    if not np.isfinite(reference).all() or np.ptp(reference, axis=0).max() == 0:
        raise RuntimeError("the results are the same for every sample")


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def cores() -> int:
    return len(os.sched_getaffinity(0))


def machine() -> str:
    """One line for the table: processor, cores, versions."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "pillow"))
    return f"{model}, {cores()} cores, Linux {platform.release()}, Python {platform.python_version()}, {packages}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
