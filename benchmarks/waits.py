"""Waits: how near a Job with process_sample comes to greedy scheduling of long-tailed waits, and what a sample costs.

    python -m benchmarks.waits

Greedy: samples in the order of the manifest, each begun as soon as one of the slots is free; the share is its span over ours,
from the first begin to the last end.
"""

import argparse
import asyncio
import heapq
import random
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


def share(folder: Path, rows: int, processes: int, in_flight: int) -> float:
    """Greedy's span over ours."""
    run = make_run(folder, "benchmarks.waits:Waits", rows, batch_size=1, processes=processes, in_flight=in_flight)
    run_task(run).check_returncode()
    found = results(run)
    return greedy(rows, processes * in_flight) / float(found["ended"].max() - found["began"].min())


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
    most = parser.parse_args().only or max(rows for rows, *_ in _CASES)
    with tempfile.TemporaryDirectory() as folder:
        print("| rows | in flight | share of greedy |\n| --- | --- | --- |")
        for number, (rows, processes, in_flight) in enumerate(case for case in _CASES if case[0] <= most):
            found = share(Path(folder) / f"waits-{number}", rows, processes, in_flight)
            print(f"| {rows:,} | {processes} x {in_flight} | {found:.3f} |", flush=True)
        print("\n| samples | in flight | CPU of all processes, µs a sample |\n| --- | --- | --- |")
        for rows, in_flight in _TRIVIAL:
            print(
                f"| {rows:,} | {in_flight} | {cost(Path(folder) / f'trivial-{in_flight}', rows, in_flight):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
