"""Waits: how near a Job with process_sample comes to greedy scheduling of long-tailed waits, and what a sample costs.

    python -m benchmarks.waits [--repetitions 3]

Greedy: samples in the order of the manifest, each begun as soon as one of the slots is free; the share is its span over ours,
from the first begin to the last end. With data.cost, which tells how long each waits, it is of what no order can beat: the sum
over the slots, or the longest.
"""

import argparse
import asyncio
import heapq
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from jobs.job import Job
from tests.support.task_runs import attempts, make_run, results, run_task

_MEAN = 0.1
# rows, processes, samples in flight of each
_CASES = ((1024, 1, 16), (1024, 1, 64), (1024, 1, 256), (1024, 2, 32), (10_240, 1, 64), (10_240, 1, 256))
_TRIVIAL = ((20_000, 64), (20_000, 256))


def seconds(row: int) -> float:
    """Lognormal, sigma 1."""
    return random.Random(row).lognormvariate(0.0, 1.0) * _MEAN / float(np.exp(0.5))


class Waits(Job):
    """Waits for as long as ``seconds`` says, and tells when."""

    def load(self, sample: Any) -> int:
        return int(sample["x"])

    async def process_sample(self, item: int, seed: int) -> dict[str, Any]:
        began = time.monotonic()
        await asyncio.sleep(seconds(item))
        return {"began": began, "ended": time.monotonic()}


class Trivial(Job):
    """Does nothing."""

    def load(self, sample: Any) -> int:
        return int(sample["x"])

    async def process_sample(self, item: int, seed: int) -> dict[str, Any]:
        return {"y": item}


def greedy(rows: int, slots: int) -> float:
    """The span of greedy scheduling, seconds."""
    ends = [0.0] * slots
    for row in range(rows):
        heapq.heapreplace(ends, ends[0] + seconds(row))
    return max(ends)


def bound(rows: int, slots: int) -> float:
    """What no order can beat, seconds."""
    waits = [seconds(row) for row in range(rows)]
    return max(sum(waits) / slots, max(waits))


def span(folder: Path, rows: int, processes: int, in_flight: int, *, costs: bool) -> float:
    """Ours, seconds."""
    known = [seconds(row) for row in range(rows)] if costs else None
    settings = {"processes": processes, "in_flight": in_flight}
    run = make_run(folder, "benchmarks.waits:Waits", rows, batch_size=1, costs=known, **settings)
    run_task(run).check_returncode()
    found = results(run)
    return float(found["ended"].max() - found["began"].min())


def _shares(folder: str, rows: int, processes: int, in_flight: int, repetitions: int, *, costs: bool) -> str:
    """The median, and the least."""
    ideal = (bound if costs else greedy)(rows, processes * in_flight)
    found = []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory(dir=folder) as own:
            found.append(ideal / span(Path(own) / "run", rows, processes, in_flight, costs=costs))
    return f"{statistics.median(found):.3f} ({min(found):.3f})"


def cost(folder: Path, rows: int, in_flight: int) -> float:
    """CPU of all processes, microseconds a sample, without what a task of few samples takes."""
    used = []
    for count in (in_flight, rows):
        run = make_run(folder / str(count), "benchmarks.waits:Trivial", count, batch_size=1, in_flight=in_flight)
        run_task(run).check_returncode()
        used.append(attempts(run)[0].beat.cpu_seconds)
    return (used[1] - used[0]) / rows * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, help="so many rows at the most")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    most = arguments.only or max(rows for rows, *_ in _CASES)
    with tempfile.TemporaryDirectory() as folder:
        print(
            "| samples | in flight | of greedy (least) | with data.cost, of the bound (least) |\n| --- | --- | --- | --- |"
        )
        for rows, processes, in_flight in (case for case in _CASES if case[0] <= most):
            told = [
                _shares(folder, rows, processes, in_flight, arguments.repetitions, costs=costs)
                for costs in (False, True)
            ]
            print(f"| {rows:,} | {processes} x {in_flight} | {' | '.join(told)} |", flush=True)
        print("\n| samples | in flight | CPU of all processes, µs a sample |\n| --- | --- | --- |")
        for rows, in_flight in _TRIVIAL:
            print(
                f"| {rows:,} | {in_flight} | {cost(Path(folder) / f'trivial-{in_flight}', rows, in_flight):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
