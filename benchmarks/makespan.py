"""makespan: four array tasks of which one is slow, one is preempted and one is late, against the best that is possible.

    python -m benchmarks.makespan [--seconds 300] [--only uneven,huge]

One task has a quarter of the others' speed, one gets SIGTERM when half of the ideal time is over and never comes back, one
starts when a quarter is over. The ideal is fluid: all tasks busy for as long as they are there, to the same last moment.
Work is sleep, so the tasks need no core of their own. Fixed ranges are what each task alone would need for its quarter; the
rest of a preempted one's waits for somebody to submit it again.
"""

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.contest import machine
from jobs.job import Context, Job
from jobs.storage.attempts import Attempts, owners
from jobs.storage.plans import Plan
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir
from jobs.storage.samples import BATCH_ROWS, METADATA_KEY
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Submission

_ROOT = Path(__file__).parents[1]
_SPEEDS = (0.25, 1.0, 1.0, 1.0)
_PREEMPTED, _LATE = 1, 2
_BATCH = 8
_SAMPLE_SECONDS = 0.02
_SLOWNESS = "BENCHMARK_SLOWNESS"


class SleepJob(Job):
    """Takes _SAMPLE_SECONDS a sample, more on a slow node."""

    def setup(self, context: Context) -> None:
        self._seconds = _SAMPLE_SECONDS * float(os.environ.get(_SLOWNESS, "1"))

    def load(self, sample: Any) -> int:
        return int(sample["source"])

    def process(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        time.sleep(self._seconds * len(batch))
        return {"value": np.asarray(batch)}


@dataclass(frozen=True)
class Outcome:
    """Seconds from the first start to the last commit, and how many rows were computed for nothing."""

    seconds: float
    twice: int


def ideal(work: float) -> float:
    """The seconds that the tasks need for ``work`` seconds of a fast one: one is there for half of them, one for 3/4."""
    share = sum(
        speed * (0.5 if task == _PREEMPTED else 0.75 if task == _LATE else 1.0) for task, speed in enumerate(_SPEEDS)
    )
    return work / share


def fixed(work: float) -> float:
    """The seconds after which fixed quarters would be done, but for what the preempted task left."""
    own = work / len(_SPEEDS)
    return max(own / speed + (ideal(work) / 4 if task == _LATE else 0.0) for task, speed in enumerate(_SPEEDS))


def plan(run: RunDir, sizes: np.ndarray) -> int:
    """A run whose shards have these sizes; returns its rows."""
    run.make()
    boundaries = (0, *np.cumsum(sizes).tolist())
    rows = boundaries[-1]
    metadata = {METADATA_KEY: json.dumps({"id": None, "rows": rows}).encode()}
    table = pa.table({"source": np.arange(rows)}).replace_schema_metadata(metadata)
    with pa.ipc.new_file(str(run.manifest), table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)
    job = JobSpec("benchmarks.makespan:SleepJob", {}, str(_ROOT))
    made = Plan("makespan", "0", time.time(), rows, None, boundaries, job, _BATCH, 0, {})
    made.write(run.plan)
    # Equal quarters, as nothing is known of the tasks before.
    cuts = [made.table.batch_at(rows * task // len(_SPEEDS))[0] for task in range(len(_SPEEDS))] + [rows]
    ranges = tuple(itertools.pairwise(cuts))
    node = NodeSettings(processes=1, workers=0, devices="cpu")
    submission = Submission(1, "local", time.time(), len(_SPEEDS), Spans([(0, rows)]), ranges, node)
    run.claims(1).mkdir()
    submission.write(run.submission(1))
    return int(rows)


def measure(run: RunDir, rows: int) -> Outcome:
    limit = ideal(rows * _SAMPLE_SECONDS)
    started = time.time()
    tasks: dict[int, subprocess.Popen[bytes]] = {}
    events = sorted([(0.0, 0), (0.0, _PREEMPTED), (limit / 4, _LATE), (0.0, 3), (limit / 2, -_PREEMPTED)])
    for at, task in events:
        time.sleep(max(0.0, started + at - time.time()))
        if task < 0:
            tasks[-task].send_signal(signal.SIGTERM)
        else:
            tasks[task] = _start(run, task)
    for process in tasks.values():
        process.wait()
    attempts = Attempts(run).read()
    done = sum(one.rows.count for one in owners(attempts))
    if done != rows:
        raise RuntimeError(f"{done} of {rows} samples were done")
    last = max(attempt.beat.advanced for attempt in attempts)
    return Outcome(last - started, sum(attempt.beat.done.count for attempt in attempts) - rows)


def _start(run: RunDir, task: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-m", "jobs", str(run.path), "1", str(task)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), _SLOWNESS: str(1 / _SPEEDS[task])}
    with (run.logs / f"{task}.log").open("wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="the ideal time")
    parser.add_argument("--only", default="uneven,huge")
    options = parser.parse_args()
    rows = int(options.seconds / ideal(1.0) / _SAMPLE_SECONDS)
    generator = np.random.default_rng(0)
    uneven = np.maximum(1, np.round(generator.lognormal(0, 0.8, 400) * rows / 400 / 1.38)).astype(int)
    cases = {"uneven": ("400 uneven shards", uneven), "huge": ("8 shards", np.full(8, rows // 8))}
    print(machine())
    print("\n| work | ideal, s | measured, s | ratio | rows twice | fixed ranges, of the ideal |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.only.split(","):
        title, sizes = cases[name]
        with tempfile.TemporaryDirectory() as folder:
            run = RunDir(Path(folder) / "run")
            found = measure(run, plan(run, sizes))
        work = float(sizes.sum()) * _SAMPLE_SECONDS
        ratio, alone = found.seconds / ideal(work), fixed(work) / ideal(work)
        print(
            f"| {title} | {ideal(work):.1f} | {found.seconds:.1f} | {ratio:.2f} | {found.twice} | {alone:.2f}, and a rest |"
        )


if __name__ == "__main__":
    main()
