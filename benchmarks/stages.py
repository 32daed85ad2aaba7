"""stages: a chain of two and of three runs, one after another and with stages that overlap, against the slowest stage alone.

    python -m benchmarks.stages [--seconds 20] [--repetitions 3] [--stages 1 2 3]

Each stage is a run of two array tasks of the local executor, which needs ``seconds`` for its samples; work is sleep, so stages
need no core of their own. What there is beside that is measured with it: start-up, claims, results.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contest import machine
from jobs.job import Context, Job
from jobs.kinds import RunState
from jobs.storage.rundir import RunDir
from launcher.status.reader import StatusReader

_ROOT = Path(__file__).parents[1]
_TASKS, _BATCH, _ROWS = 2, 4, 800
_LOOK_SECONDS = 0.1


class Stage(Job):
    """Takes ``seconds`` a sample, and adds 1 to the value that the stage before has made of it."""

    def __init__(self, seconds: float, column: str) -> None:
        self._seconds = seconds
        self._column = column

    def setup(self, context: Context) -> None:
        pass

    def load(self, sample: Any) -> int:
        return int(sample[self._column])

    def process(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        time.sleep(self._seconds * len(batch))
        return {"value": np.asarray(batch) + 1}


def write_chain(folder: Path, stages: int, seconds: float, *, overlap: bool) -> list[str]:
    """The configs of the runs, and their samples; returns the names of the former."""
    (folder / "data.csv").write_text("x\n" + "".join(f"{row}\n" for row in range(_ROWS)))
    names = [f"stage{number}" for number in range(stages)]
    for number, name in enumerate(names):
        before = {"run": names[number - 1], "outputs": ["value"], "failed": "keep", "overlap": overlap}
        config = {
            "name": name,
            "job": {
                "class": "benchmarks.stages:Stage",
                "params": {"seconds": seconds * _TASKS / _ROWS, "column": "value" if number else "x"},
            },
            "data": {"manifest": before if number else "data.csv", "shards": 8},
            "node": {"workers": 1, "batch_size": _BATCH, "sync_interval": 1.0},
            "executor": "local",
            "local": {"parallelism": _TASKS},
        }
        (folder / f"{name}.yaml").write_text(json.dumps(config))
    return names


def measure(stages: int, seconds: float, *, overlap: bool) -> float:
    """Seconds from the submission of a chain to the result of its last run."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as path:  # its last process may not have left yet
        folder = Path(path)
        names = write_chain(folder, stages, seconds, overlap=overlap)
        began = time.monotonic()
        configs = [f"{name}.yaml" for name in names]
        command = [sys.executable, "-m", "launcher", "submit", *configs]
        subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(_ROOT)}, check=True, stdout=subprocess.DEVNULL)
        reader = StatusReader(RunDir(folder / "runs" / names[-1]))
        while reader.read().state is not RunState.COMPLETE:
            time.sleep(_LOOK_SECONDS)
        return time.monotonic() - began


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description="Chains whose stages overlap, and not.")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each stage")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--stages", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    print(machine())
    for stages in options.stages:
        ways = (False, True) if stages > 1 else (False,)
        found: dict[bool, list[float]] = {way: [] for way in ways}
        for _ in range(options.repetitions):
            for way in ways:
                found[way].append(measure(stages, options.seconds, overlap=way))
        for way, seconds in found.items():
            how = "overlapping" if way else "one after another"
            middle = statistics.median(seconds)
            print(f"{stages} stages, {how}: {middle:.1f} s, {middle / options.seconds:.2f} of a stage", flush=True)


if __name__ == "__main__":
    main()
