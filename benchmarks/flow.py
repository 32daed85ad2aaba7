"""flow: many small shards through a few array tasks: seconds and files of a run, of this version and one before.

    python -m benchmarks.flow [../before] [--shards 1000] [--samples 100] [--tasks 2] [--repetitions 3]

The tasks start together. A run of 10,000 shards on 64: --shards 10000 --samples 10 --tasks 64 --repetitions 1. Started by
its path it runs one of these with whatever version is on the import path; so it uses only what all of them have.
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa

from jobs.job import Job
from jobs.storage.plans import Plan
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir
from jobs.storage.samples import BATCH_ROWS, METADATA_KEY
from jobs.storage.submission import NodeSettings, Submission

_ROOT = Path(__file__).resolve().parents[1]


class Same(Job):
    """A batch of numbers as it is."""

    def load(self, sample: Any) -> float:
        return float(sample["x"])

    def process(self, batch: Any) -> dict[str, Any]:
        return {"y": batch}


def plan(folder: Path, shards: int, samples: int, tasks: int) -> RunDir:
    """A planned run, and its submission, as the version on the import path has them."""
    run, rows = RunDir(folder), shards * samples
    run.make()
    metadata = {METADATA_KEY: json.dumps({"id": None, "rows": rows}).encode()}
    table = pa.table({"x": range(rows)}).replace_schema_metadata(metadata)
    with pa.ipc.new_file(str(run.manifest), table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)
    boundaries = tuple(range(0, rows + 1, samples))
    job = JobSpec("flow:Same", {}, str(_ROOT / "benchmarks"))
    Plan("flow", "0", time.time(), rows, None, boundaries, job, samples, 0, {}).write(run.plan)
    cuts = [shards * task // tasks for task in range(tasks + 1)]
    ranges = list(itertools.pairwise(cuts))
    node = NodeSettings(processes=1, workers=0, devices="cpu")
    work = _work(run, ranges, samples)
    Submission(number=1, executor="local", created=time.time(), node=node, **work).write(run.submission(1))
    return run


def _work(run: RunDir, ranges: Sequence[tuple[int, int]], samples: int) -> dict[str, Any]:
    """What array tasks have: rows where they share them, or shards of their own."""
    if "groups" in Submission.__dataclass_fields__:
        return {"groups": tuple(tuple(range(*pair)) for pair in ranges)}
    from jobs.storage.spans import Spans

    run.claims(1).mkdir()
    rows = tuple((start * samples, stop * samples) for start, stop in ranges)
    return {"tasks": len(rows), "rows": Spans(rows), "ranges": rows}


def run_once(folder: Path, shards: int, samples: int, tasks: int) -> dict[str, Any]:
    """Seconds from the first start to the last end, CPU seconds, and the files of the run by their kind."""
    run = plan(folder, shards, samples, tasks)
    began = time.monotonic()
    command = [sys.executable, "-P", "-m", "jobs", str(run.path), "1"]
    started = [subprocess.Popen([*command, str(task)], stdout=subprocess.DEVNULL) for task in range(tasks)]
    statuses = [process.wait() for process in started]
    seconds = time.monotonic() - began
    if any(statuses):
        raise SystemExit(f"exit statuses {statuses}")
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    files = Counter(path.suffix or path.name for path in run.path.rglob("*") if path.is_file())
    return {"seconds": seconds, "cpu": use.ru_utime + use.ru_stime, "files": files}


def measure(version: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One run with the code of a checkout."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        sizes = [f"--{name}={getattr(options, name)}" for name in ("shards", "samples", "tasks")]
        command = [sys.executable, "-P", __file__, "--one", f"{folder}/run", *sizes]
        done = subprocess.run(command, env={"PYTHONPATH": str(version)}, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, nargs="?", help="a checkout of another version")
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=100, help="of a shard, which is a batch")
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(run_once(options.one, options.shards, options.samples, options.tasks)))
        return
    versions = {"before": options.other.resolve()} if options.other else {}
    versions["now"] = _ROOT
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in versions}
    for _ in range(options.repetitions):
        for name, folder in versions.items():
            found[name].append(measure(folder, options))
    print(f"{options.shards:,} shards of {options.samples} samples, {options.tasks} array tasks\n")
    print("| version | seconds | CPU seconds | files |\n| --- | --- | --- | --- |")
    for name, runs in found.items():
        files = ", ".join(f"{count:,} {kind}" for kind, count in sorted(runs[-1]["files"].items()))
        seconds, cpu = (median(one[key] for one in runs) for key in ("seconds", "cpu"))
        print(f"| {name} | {seconds:.2f} | {cpu:.2f} | {sum(runs[-1]['files'].values()):,}: {files} |")


if __name__ == "__main__":
    main()
