"""Runs that have grown: what status, errors, gather, verify and an array task take, in CPU seconds and in memory.

The part ``--growth`` of status.py. Memory is the peak over that of the same command with a tiny run, in the same process.
"""

import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.job import Job
from jobs.kinds import EndReason, SampleFailureKind
from jobs.node.supervisor.failure_budget import FailureBudget
from jobs.storage.attempts import Attempt
from jobs.storage.beats import Beat
from jobs.storage.blocks import digest
from jobs.storage.journal import Journal
from jobs.storage.plans import Plan
from jobs.storage.records import AttemptStart, Block, Commit, Commits, DataFile, FailedSample, JobSpec, Layout, Output
from jobs.storage.rundir import RunDir
from jobs.storage.samples import BATCH_ROWS, METADATA_KEY
from jobs.storage.spans import Range, Spans
from jobs.storage.submission import NodeSettings, Submission
from launcher.runs.submissions import Outcome
from tests.support.task_runs import make_run

_ROOT = Path(__file__).parents[1]
_ELSEWHERE = {"host": "elsewhere", "boot": "", "pid": 1, "start": 1}
_LINE = 8

_MEASURED = """
import json, os, re, resource, sys
from launcher.cli import main
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
tiny, grown, *command = sys.argv[1:]
out, sys.stdout = sys.stdout, open(os.devnull, "w")
main([*command, tiny])
before, cpu = peak(), resource.getrusage(resource.RUSAGE_SELF)
code = main([*command, grown])
after = resource.getrusage(resource.RUSAGE_SELF)
seconds = after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime
print(json.dumps({"code": code, "seconds": seconds, "mebibytes": peak() - before}), file=out)
"""


class EveryFourthFails(Job):
    """Squares the column ``x``, but for every fourth sample."""

    def load(self, sample: Any) -> Any:
        if sample["x"] % 4 == 0:
            raise ValueError(f"no sample {sample['x']}")
        return {"x": sample["x"]}

    def process(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"square": batch["x"] ** 2}


@dataclass(frozen=True)
class Shape:
    """``rows`` in shards and batches of so many; the first ``failed`` rows of each batch fail, each in its own words.

    ``again``: the first batch was tried again, so that what the first attempt says of itself does not count as it is.
    """

    rows: int
    shard: int
    batch: int
    failed: int
    attempts: int = 1
    again: bool = False

    def commit(self, start: int, file: int, first: int) -> Commit:
        stop = min(start + self.batch, self.rows)
        bad = min(self.failed, stop - start)
        failed = tuple(
            FailedSample(row, SampleFailureKind.LOAD, f"OSError: cannot read /data/{row}.jpg: {'x' * 60}", 1)
            for row in range(start, start + bad)
        )
        size = 8 * (stop - start)
        blocks = (
            () if bad == stop - start else (Block(file, 8 * (start - first), size, digest(memoryview(bytes(size)))),)
        )
        return Commit(start, stop, blocks, failed, split=bool(failed))


SHAPES = {
    "1,000,000 failed samples": Shape(1_000_000, 10_000, 100, 100),
    "1,000,000 failed samples, some tried again": Shape(1_000_000, 10_000, 100, 100, again=True),
    "1,000,000 batches of an attempt": Shape(1_000_000, 1_000_000, 1, 0),
    "1,000,000 done shards, a failed sample each": Shape(4_000_000, 4, 4, 1, attempts=64),
}


def build(folder: Path, shape: Shape) -> RunDir:
    """A run all rows of which are done; their bytes are zeros."""
    run = RunDir(folder)
    run.make()
    _write_manifest(run.manifest, shape.rows)
    boundaries = (*range(0, shape.rows, shape.shard), shape.rows)
    Plan("grown", "0", 0.0, shape.rows, "id", boundaries, JobSpec("jobs.job:Job"), shape.batch, 0, {}).write(run.plan)
    node, shards = NodeSettings(max_failed_samples=1.0), len(boundaries) - 1
    cuts = [boundaries[shards * n // shape.attempts] for n in range(shape.attempts + 1)]
    _submit(run, shape, 1, tuple(itertools.pairwise(cuts)), node)
    if shape.again:
        _submit(run, shape, 2, ((0, shape.batch),), node)
    return run


def _submit(run: RunDir, shape: Shape, number: int, ranges: tuple[Range, ...], node: NodeSettings) -> None:
    """A submission that has ended, with an attempt for each range."""
    Submission(number, "local", time.time(), len(ranges), Spans(ranges), ranges, node).write(run.submission(number))
    Outcome(0.0).write(run, number)
    for worker, rows in enumerate(ranges):
        _write_attempt(run, shape, number, worker, rows)


def _write_manifest(path: Path, rows: int) -> None:
    schema = pa.schema([("id", pa.string())], {METADATA_KEY: json.dumps({"id": "id"})})
    with pa.ipc.new_file(str(path), schema) as writer:
        for start in range(0, rows, BATCH_ROWS):
            names = [f"sample-{row}" for row in range(start, min(start + BATCH_ROWS, rows))]
            writer.write_batch(pa.record_batch([pa.array(names)], schema=schema))


def _write_attempt(run: RunDir, shape: Shape, number: int, worker: int, rows: Range) -> None:
    """With the beat that a supervisor would have written."""
    name, (first, last) = f"{number:04d}-{worker:05d}-{worker:08x}", rows
    with run.data(name, 0).open("wb") as data:
        data.truncate(8 * (last - first))
    budget = FailureBudget(Plan.read(run.plan), Submission.read(run.submission(number)), tuple[Attempt])
    with Journal(run.journal(name)) as journal:
        journal.append(
            AttemptStart(number, worker, worker, 0.0, "elsewhere", _ELSEWHERE), DataFile(0, f"{name}.0.data")
        )
        journal.append(Layout((Output("y", False, "<f8", ()),)))
        for line in range(first, last, _LINE * shape.batch):
            starts = range(line, min(line + _LINE * shape.batch, last), shape.batch)
            commits = tuple(shape.commit(start, 0, first) for start in starts)
            journal.append(Commits(commits))
            budget.add(sample for commit in commits for sample in commit.failed)
        done, failed = Spans([rows]), sum(group.samples for group in budget.groups())
        beat = Beat(
            1, 1.0, done, done.count - failed, failed, 1.0, shared=budget.shared(done), failures=budget.groups()
        )
        journal.append(replace(beat, end=EndReason.DONE, seconds=1.0, cpus=1))


def measure(folder: Path, scale: float) -> Iterable[str]:
    """A row of a Markdown table for each command and run; ``scale`` is a part of the full size."""
    yield "| run | command | CPU seconds | MiB |"
    yield "| --- | --- | --- | --- |"
    tiny = build(folder / "tiny", Shape(64, 8, 4, 1))
    for number, (title, shape) in enumerate(SHAPES.items()):
        size = round(shape.rows * scale)
        run = build(folder / f"grown-{number}", replace(shape, rows=size, shard=min(shape.shard, size)))
        for command in (["status"], ["errors"], ["errors", "--json"], ["gather"], ["verify"]):
            taken = _command(tiny, run, command)
            yield f"| {title} | {' '.join(command)} | {taken['seconds']:.2f} | {taken['mebibytes']:.0f} |"
    for samples in (round(1_000_000 * scale), 1000):
        seconds, most = supervisor_peak(folder / f"task-{samples}", samples)
        yield f"| {samples:,} batches in an array task | the supervisor: s, MiB in all | {seconds:.2f} | {most:.0f} |"


def _command(tiny: RunDir, grown: RunDir, command: list[str]) -> Mapping[str, float]:
    line = [sys.executable, "-c", _MEASURED, str(tiny.path), str(grown.path), *command]
    done = subprocess.run(line, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found: Mapping[str, float] = json.loads(done.stdout)
    return found


def supervisor_peak(folder: Path, samples: int) -> tuple[float, float]:
    """Seconds, and the most MiB that the supervisor of an array task has had; every fourth sample fails."""
    run = make_run(folder, f"{__name__}:EveryFourthFails", samples, batch_size=1, max_failed_samples=1.0)
    began, most = time.monotonic(), 0.0
    with subprocess.Popen(
        [sys.executable, "-m", "jobs", str(run.path), "1", "0"], cwd=_ROOT, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            try:
                found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            except (FileNotFoundError, ProcessLookupError):
                break
            most = int(found[1]) / 1024 if found else most
            time.sleep(0.05)
    return time.monotonic() - began, most
