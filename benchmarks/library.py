"""library: 100,000 squares in order, by jobs.Hierarchy and by the peers: what each costs a sample.

``python -m benchmarks.library [--ray PYTHON]`` prints a Markdown table. PYTHON is an interpreter that has Ray, which need
not be ours.
"""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from benchmarks.contest import REPETITIONS, await_quiet, machine, median, table
from benchmarks.library_peers import PEERS

_ROOT = Path(__file__).parents[1]
_COUNT = 100_000
_WORKERS = 2
_NAMES = {
    "ours": "jobs.Hierarchy",
    "queue": "multiprocessing.Queue, an item per sample",
    "executor-1": "ProcessPoolExecutor.map, chunksize 1",
    "executor-1000": "ProcessPoolExecutor.map, chunksize 1000",
    "pool-1000": "multiprocessing.Pool.imap, chunksize 1000",
    "joblib": "joblib.Parallel (loky)",
    "ray-1000": "ray.util.multiprocessing.Pool.imap, chunksize 1000",
}
Runs = dict[str, list[tuple[float, float]]]
"""Of each peer and repetition the seconds of its first and second pass."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ray", help="an interpreter that has Ray", default=sys.executable)
    options = parser.parse_args()
    names = [name for name in PEERS if _has(name, options.ray)]
    runs: Runs = {name: [] for name in names}
    for repetition in range(REPETITIONS):
        turn = repetition % len(names)
        for name in names[turn:] + names[:turn]:
            await_quiet()
            runs[name].append(_run(name, options.ray))
            print(f"{repetition + 1}/{REPETITIONS} {name}: {runs[name][-1][1]:.3f} s", file=sys.stderr)
    print(f"{machine()}\n")
    print(f"{_COUNT:,} squares in order, {_WORKERS} workers, medians of {REPETITIONS} repetitions in turns.\n")
    head = ("design", "samples/s, warm", "times a queue item per sample", "ours is faster by", "with the start, s")
    print(table(head, (_row(name, runs) for name in names)))


def _has(name: str, ray: str) -> bool:
    package = {"joblib": "joblib", "ray-1000": "ray"}.get(name, "sys")
    return importlib.util.find_spec(package) is not None or (package == "ray" and ray != sys.executable)


def _run(name: str, ray: str) -> tuple[float, float]:
    python = ray if name == "ray-1000" else sys.executable
    command = [python, "-m", "benchmarks.library_peers", name, str(_COUNT), str(_WORKERS)]
    shown = subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    first, second = shown.split()[-2:]
    return float(first), float(second)


def _row(name: str, runs: Runs) -> list[str]:
    warm = {peer: [second for _, second in repeated] for peer, repeated in runs.items()}
    rate = _COUNT / median(warm[name])
    against_queue = median(other / own for other, own in zip(warm["queue"], warm[name], strict=True))
    ours = median(own / other for own, other in zip(warm[name], warm["ours"], strict=True))
    start = median(first for first, _ in runs[name])
    return [_NAMES[name], f"{rate:,.0f}", f"{against_queue:.1f}", f"{ours:.1f}", f"{start:.2f}"]


if __name__ == "__main__":
    main()
