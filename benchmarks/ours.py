"""Ours: a benchmark's work as a planned run of one shard, run by an array task as Slurm would start it.

Used by contest.py. What is measured is the whole path: manifest, task, shard file, journal, syncs.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.gate import Gate
from benchmarks.work import TorchJob, WorkJob, make_work
from jobs.storage.journal import replay
from jobs.storage.plans import NodeSettings, Plan, Submission
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir
from jobs.storage.samples import BATCH_ROWS, METADATA_KEY
from jobs.storage.shard_file import ShardFile

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Planned:
    """A run of one shard, ready to be started."""

    run: RunDir
    plan: Plan
    gate: Gate

    def command(self) -> list[str]:
        return [sys.executable, "-P", "-m", "jobs", str(self.run.path), "1", "0"]

    def end(self) -> float:
        """When all was in the shard file, journaled and synced (epoch seconds); RuntimeError where the task failed."""
        last = replay(self.run.journal(0)).last
        if last is None or last.end is None or last.end.reason != "done" or last.end.failed:
            raise RuntimeError(f"the task of {self.run.path} did not do all samples: {last}")
        return last.end.time

    def results(self) -> np.ndarray:
        """The shard's results [rows, *shape]."""
        layout = replay(self.run.journal(0)).layout
        if layout is None:
            raise RuntimeError(f"{self.run.path} has no results")
        output = layout.outputs[0]
        with ShardFile.open(self.run, self.plan.shard(0), layout, done=True) as file:
            data = file.read_rows(output, 0, self.plan.rows)
        return np.frombuffer(data, output.dtype).reshape(self.plan.rows, *output.shape)


def plan_run(path: str, folder: Path, out: Path, processes: int, workers: int) -> Planned:
    """Plans a work as one shard in ``out``."""
    work = make_work(path, folder)
    run = RunDir(out / "run")
    run.make()
    rows = len(work.sources)
    metadata = {METADATA_KEY: json.dumps({"id": None, "rows": rows}).encode()}
    table = pa.table({"source": list(work.sources)}).replace_schema_metadata(metadata)
    with pa.ipc.new_file(str(run.manifest), table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)
    gate = Gate(out / "gate", processes * (1 + workers))
    job = TorchJob if "torch" in work.modules else WorkJob
    params = {"work": path, "folder": str(folder), "gate": str(gate.folder), "members": gate.members}
    spec = JobSpec(f"{job.__module__}:{job.__name__}", params, str(_ROOT))
    plan = Plan("benchmark", "0", time.time(), rows, None, (0, rows), spec, work.batch_size, 0, {})
    plan.write(run.plan)
    node = NodeSettings(processes=processes, workers=workers, devices="cpu", max_failed_samples=0)
    Submission(1, "local", time.time(), ((0,),), node).write(run.submission(1))
    return Planned(run, plan, gate)


def run_planned(planned: Planned) -> None:
    """Runs the task to its end; raises CalledProcessError."""
    subprocess.run(planned.command(), cwd=_ROOT, stdout=subprocess.DEVNULL, check=True)
