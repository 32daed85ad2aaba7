"""Ours: a benchmark's work as a planned run of one shard, run by an array task as Slurm would start it.

What is measured is the whole path: manifest, task, data files, journal, syncs.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.gate import Gate
from benchmarks.work import Case, TorchJob, WorkJob
from jobs.storage.attempts import Attempt, Attempts, read_commits, read_head
from jobs.storage.blocks import BlockReader
from jobs.storage.plans import Plan
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir
from jobs.storage.samples import BATCH_ROWS, METADATA_KEY
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Submission

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Ours:
    """A contestant: an array task of ``processes`` with ``workers`` each."""

    processes: int
    workers: int

    def __str__(self) -> str:
        return f"ours, {self.processes} {'process' if self.processes == 1 else 'processes'} x {self.workers} workers"

    def command(self, case: Case, out: Path, late: int) -> list[str]:
        """Plans the case as one shard."""
        run = RunDir(out / "run")
        run.make()
        _write_manifest(run.manifest, case.count)
        gate = Gate(out / "gate", self.processes * (1 + self.workers) + late)
        _plan(case, gate).write(run.plan)
        node = NodeSettings(processes=self.processes, workers=self.workers, devices="cpu", max_failed_samples=0)
        run.claims(1).mkdir()
        rows = (0, case.count)
        Submission(1, "local", time.time(), 1, Spans([rows]), (rows,), node).write(run.submission(1))
        return [sys.executable, "-P", "-m", "jobs", str(run.path), "1", "0"]

    def end(self, out: Path) -> float:
        """When all was on disk; RuntimeError where the task did not do all samples."""
        beat = _attempt(out).beat
        if beat.end != "done" or beat.failed:
            raise RuntimeError(f"the task of {out} did not do all samples: {beat}")
        return beat.advanced

    def results(self, out: Path) -> np.ndarray:
        attempt = _attempt(out)
        layout, files = read_head(attempt)
        if layout is None:
            raise RuntimeError(f"{attempt.journal} has no results")
        output = layout.outputs[0]
        with BlockReader(files) as reader:
            commits = sorted(read_commits(attempt), key=lambda commit: commit.start)
            data = b"".join(reader.read(block) for commit in commits for block in commit.blocks)
        return np.frombuffer(data, output.dtype).reshape(-1, *output.shape)


def _attempt(out: Path) -> Attempt:
    (attempt,) = Attempts(RunDir(out / "run")).read()
    return attempt


def _write_manifest(path: Path, rows: int) -> None:
    metadata = {METADATA_KEY: json.dumps({"id": None, "rows": rows}).encode()}
    table = pa.table({"source": np.arange(rows)}).replace_schema_metadata(metadata)
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)


def _plan(case: Case, gate: Gate) -> Plan:
    work = case.make()
    job = TorchJob if "torch" in work.modules else WorkJob
    params = {"work": case.work, "folder": str(case.folder), "gate": str(gate.folder), "members": gate.members}
    spec = JobSpec(f"{job.__module__}:{job.__name__}", params, str(_ROOT))
    return Plan("benchmark", "0", time.time(), case.count, None, (0, case.count), spec, work.batch_size, 0, {})
