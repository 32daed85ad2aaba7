"""Planned runs for tests of array tasks, and what tests look at afterwards: made without the launcher."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from jobs.storage.journal import History, replay
from jobs.storage.plans import NodeSettings, Plan, Submission
from jobs.storage.records import AttemptEnd, FailedSample, JobSpec, Layout
from jobs.storage.rundir import RunDir
from jobs.storage.samples import BATCH_ROWS, METADATA_KEY
from jobs.storage.shard_file import ShardFile
from tests.support.launcher_runs import ROOT


def make_run(
    path: Path, job: str, rows: int, *, shards: int = 1, batch_size: int = 16, params: Any = None, **node: Any
) -> RunDir:
    """A run over rows with a column ``x`` = 0, 1, 2 ..., planned, with one submission of all shards."""
    run = RunDir(path)
    run.make()
    metadata = {METADATA_KEY: json.dumps({"id": None, "rows": rows}).encode()}
    table = pa.table({"x": list(range(rows))}).replace_schema_metadata(metadata)
    with pa.ipc.new_file(str(run.manifest), table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)
    boundaries = tuple(rows * shard // shards for shard in range(shards + 1))
    spec = JobSpec(job if ":" in job else f"tests.example_jobs.toy_jobs:{job}", params or {}, str(ROOT))
    Plan("test", "0", 0.0, rows, None, boundaries, spec, batch_size, 0, {}).write(run.plan)
    write_submission(run, [(shard,) for shard in range(shards)], **node)
    return run


def write_submission(run: RunDir, groups: list[tuple[int, ...]], *, number: int = 1, **settings: Any) -> None:
    retry_failed = settings.pop("retry_failed", False)
    node = NodeSettings(**{"workers": 2, "max_failed_samples": 0, **settings})
    Submission(number, "local", 0.0, tuple(groups), node, retry_failed).write(run.submission(number))


def command(run: RunDir, index: int = 0, submission: int = 1) -> list[str]:
    return [sys.executable, "-P", "-m", "jobs", str(run.path), str(submission), str(index)]


def run_task(run: RunDir, index: int = 0, submission: int = 1, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs an array task to its end."""
    return subprocess.run(
        command(run, index, submission), capture_output=True, text=True, timeout=120, check=False, **options
    )


def history(run: RunDir, shard: int = 0) -> History:
    return replay(run.journal(shard))


def last_end(run: RunDir, shard: int = 0) -> AttemptEnd:
    """How the newest attempt at a shard ended; it has to have ended."""
    last = history(run, shard).last
    assert last
    assert last.end
    return last.end


def layout_of(run: RunDir, shard: int = 0) -> Layout:
    layout = history(run, shard).layout
    assert layout is not None
    return layout


def failures(run: RunDir, shard: int = 0) -> dict[int, FailedSample]:
    return {sample.row: sample for sample in history(run, shard).failed_samples}


def content(run: RunDir, shard: int = 0) -> dict[int, Any]:
    """The bytes of every batch of a done shard, checked against the journal; where values lie in their file is no matter."""
    past, layout = history(run, shard), layout_of(run, shard)
    found: dict[int, Any] = {}
    with ShardFile.open(run, Plan.read(run.plan).shard(shard), layout, done=True) as file:
        for start, commit in sorted(past.commits.items()):
            assert file.damaged(commit) == []
            rows = {o.name: bytes(file.read_rows(o, start, commit.stop)) for o in layout.outputs}
            values = {name: bytes(file.read_segment(name, s)) for name, s in commit.segments.items()}
            found[start] = (rows, values, commit.failed)
    return found


def results(run: RunDir, shard: int = 0) -> dict[str, np.ndarray]:
    """The rows of every output of a done shard, all of them fixed, as flat arrays."""
    layout, rows = layout_of(run, shard), Plan.read(run.plan).shard(shard)
    with ShardFile.open(run, rows, layout, done=True) as file:
        return {
            output.name: np.frombuffer(file.read_rows(output, rows.start, rows.stop), output.dtype)
            for output in layout.outputs
        }


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; zombies that nobody waits for are dead."""
    return [process for process in processes if _runs(process)]


def runs(pid: int) -> bool:
    """Whether a process runs; a zombie, which the machine's init may be slow to reap, is dead."""
    try:
        return _runs(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
