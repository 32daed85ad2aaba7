"""Contest: ours and the peers in turns, their medians, and the table.

Every contestant is a fresh process tree; each repetition runs
all of them, in another order and when the machine is quiet, so that what else it does hits all alike.
"""

import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.gate import Gate
from benchmarks.work import Case

_ROOT = Path(__file__).parents[1]
REPETITIONS = 5
# Share of the machine that must be idle before a run, over this many seconds; a busy one is used all the same, later.
_IDLE = 0.95
_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Outcome:
    """Seconds of one run, in a repetition, counted from the start of its command.

    ``opened``: when all of its processes were at the gate; ``end``: its last result; ``wall``: its exit. ``cpu`` is what
    the peer says of its own CPU seconds between gate and last result; ``seen`` is what the entry's watch returned.
    """

    repetition: int
    wall: float
    opened: float = math.nan
    end: float = math.nan
    cpu: float = math.nan
    seen: float = math.nan

    @property
    def steady(self) -> float:
        return self.end - self.opened


class Contestant(Protocol):
    """A way to do a case, in an empty folder ``out``; its processes meet at the gate ``out``/gate, ``late`` others too."""

    def command(self, case: Case, out: Path, late: int) -> list[str]:
        """Prepares a run; returns the command to be measured."""

    def end(self, out: Path) -> float:
        """When it had its last result (epoch seconds)."""

    def results(self, out: Path) -> np.ndarray | None:
        """One row for each sample; None where it computes nothing."""


Watch = Callable[["subprocess.Popen[bytes]", Path], float]
"""(a run under way, its folder) -> a figure; returns before the run ends or soon after."""


@dataclass(frozen=True)
class Entry:
    """A contestant and its case. It takes part in each ``every``-th repetition; ``late``: what watch brings to the gate."""

    contestant: Contestant
    case: Case
    every: int = 1
    watch: Watch | None = None
    late: int = 0


Outcomes = dict[str, list[Outcome]]


class Referee:
    """Compares all results of a contest with the longest so far: rows of the same number must be the same."""

    def __init__(self) -> None:
        self._name = ""
        self._reference: np.ndarray | None = None

    def check(self, name: str, results: np.ndarray | None, count: int) -> None:
        """Raises RuntimeError where results differ, or are missing, or are the same for every sample."""
        if results is None:
            return
        if len(results) != count or not np.isfinite(results).all() or (count > 1 and np.ptp(results, 0).max() == 0):
            raise RuntimeError(f"{name} did not compute {count} results")
        if self._reference is not None:
            self._compare(name, results, self._reference)
        if self._reference is None or len(results) > len(self._reference):
            self._name, self._reference = name, results

    def _compare(self, name: str, results: np.ndarray, reference: np.ndarray) -> None:
        rows = min(len(results), len(reference))
        # Batches of other samples may round differently.
        if not np.allclose(results[:rows], reference[:rows], rtol=1e-4, atol=1e-6):
            raise RuntimeError(f"{name} and {self._name} computed different results")


def hold(entries: dict[str, Entry], repetitions: int, scratch: Path) -> Outcomes:
    """Runs all entries ``repetitions`` times in turns; raises RuntimeError where their results differ."""
    outcomes: Outcomes = {name: [] for name in entries}
    names, referee = list(entries), Referee()
    for repetition in range(repetitions):
        turn = repetition % len(names)
        for name in names[turn:] + names[:turn]:
            if repetition % entries[name].every:
                continue
            outcomes[name].append(_run(name, entries[name], scratch / "out", referee, repetition))
            print(f"{repetition + 1}/{repetitions} {name}: {_shown(outcomes[name][-1])}", file=sys.stderr)
    return outcomes


def _shown(outcome: Outcome) -> str:
    figures = {"wall": outcome.wall, "ready": outcome.opened, "steady": outcome.steady, "seen": outcome.seen}
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items() if not math.isnan(value))


def _run(name: str, entry: Entry, out: Path, referee: Referee, repetition: int) -> Outcome:
    shutil.rmtree(out, ignore_errors=True)
    (out / "gate").mkdir(parents=True)
    command = entry.contestant.command(entry.case, out, entry.late)
    os.sync()
    await_quiet()
    started, clock = time.time(), time.monotonic()
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.DEVNULL) as process:
        seen = entry.watch(process, out) if entry.watch else math.nan
        process.wait()
        wall = time.monotonic() - clock
    if process.returncode:
        raise RuntimeError(f"{name} ended with {process.returncode}: {command}")
    referee.check(name, entry.contestant.results(out), entry.case.count)
    opened = Gate(out / "gate", 0).opened()
    cpu = sum(float(path.read_text()) for path in out.glob("cpu*")) or math.nan
    return Outcome(repetition, wall, opened - started, entry.contestant.end(out) - started, cpu, seen)


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


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float], digits: int = 2) -> str:
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


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
