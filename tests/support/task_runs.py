"""Planned runs for tests of array tasks, and what tests look at afterwards: made without the launcher."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from jobs.storage.attempts import Attempt, Attempts, Head, owners, read_commits, read_head, read_records
from jobs.storage.beats import Beat
from jobs.storage.blocks import BlockReader
from jobs.storage.plans import Plan
from jobs.storage.records import Commit, Commits, FailedSample, JobSpec, Layout
from jobs.storage.rundir import RunDir
from jobs.storage.samples import BATCH_ROWS, METADATA_KEY
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Submission
from tests.support.launcher_runs import ROOT, wait_until
from tests.support.patience import PATIENCE


def make_run(
    path: Path,
    job: str,
    rows: int,
    *,
    shards: int = 1,
    batch_size: int = 16,
    params: Any = None,
    costs: Any = None,
    **submission: Any,
) -> RunDir:
    """A run over rows with a column ``x`` = 0, 1, 2 ..., planned, with one submission of all shards.

    ``costs`` are what each row costs, as data.cost says.
    """
    run = RunDir(path)
    run.make()
    metadata = {METADATA_KEY: json.dumps({"id": None, "rows": rows}).encode()}
    columns = {"x": list(range(rows))} | ({"seconds": list(costs)} if costs else {})
    table = pa.table(columns).replace_schema_metadata(metadata)
    with pa.ipc.new_file(str(run.manifest), table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)
    config = {"data": {"cost": "seconds"}} if costs else {}
    boundaries = tuple(rows * shard // shards for shard in range(shards + 1))
    spec = JobSpec(job if ":" in job else f"tests.example_jobs.toy_jobs:{job}", params or {}, str(ROOT))
    Plan("test", "0", 0.0, rows, None, boundaries, spec, batch_size, 0, config).write(run.plan)
    write_submission(run, **submission)
    return run


def write_submission(
    run: RunDir,
    shards: Iterable[int] | None = None,
    *,
    rows: Spans | None = None,
    number: int = 1,
    tasks: int = 1,
    failed_before: Mapping[int, int] | None = None,
    **settings: Any,
) -> Submission:
    """Of these rows, or all of these shards (default: of all), with a range of about as many rows for each task."""
    plan = Plan.read(run.plan)
    work = rows or plan.table.rows_of(range(plan.shard_count) if shards is None else shards)
    first = [plan.table.batch_at(work.first + work.count * task // tasks)[0] for task in range(tasks)]
    ranges = tuple(zip(first, [*first[1:], work.stop], strict=True))
    node = NodeSettings(**{"workers": 2, "max_failed_samples": 0, **settings})
    made = Submission(number, "local", 0.0, tasks, work, ranges, node, failed_before=failed_before or {})
    run.claims(number).mkdir()
    made.write(run.submission(number))
    return made


def command(run: RunDir, index: int = 0, submission: int = 1) -> list[str]:
    return [sys.executable, "-P", "-m", "jobs", str(run.path), str(submission), str(index)]


def run_task(run: RunDir, index: int = 0, submission: int = 1, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs an array task to its end."""
    return subprocess.run(
        command(run, index, submission), capture_output=True, text=True, timeout=PATIENCE, check=False, **options
    )


def attempts(run: RunDir) -> list[Attempt]:
    """All attempts whose start is written, in the order in which they began."""
    found = [attempt for attempt in Attempts(run).read() if attempt.start]
    return sorted(found, key=lambda attempt: attempt.start.time if attempt.start else 0.0)


def last_end(run: RunDir) -> Beat:
    """How the newest attempt ended; it has to have ended."""
    beat = attempts(run)[-1].beat
    assert beat.end
    return beat


def written(run: RunDir) -> int:
    """How many batches were committed so far, by all attempts, also those that no beat covers."""
    records = (record for attempt in attempts(run) for record in read_records(attempt.journal))
    return sum(len(record.commits) for record in records if isinstance(record, Commits))


def done_rows(run: RunDir) -> Spans:
    return Spans(pair for attempt in attempts(run) for pair in attempt.beat.done)


def is_done(run: RunDir, shard: int = 0) -> bool:
    """Whether all rows of a shard count."""
    return not Plan.read(run.plan).table.rows_of([shard]) - done_rows(run)


def stored(run: RunDir, shard: int = 0) -> Iterator[tuple[Attempt, Commit]]:
    """The commits that count for a shard, in the order of their rows, with the attempts that they are of."""
    rows = Plan.read(run.plan).table.rows_of([shard])
    found = [
        (owned.attempt, commit)
        for owned in owners(attempts(run))
        for commit in read_commits(owned.attempt, owned.rows & rows)
    ]
    yield from sorted(found, key=lambda pair: pair[1].start)


def commits(run: RunDir, shard: int = 0) -> dict[int, Commit]:
    """Those that count for a shard, by first row."""
    return {commit.start: commit for _, commit in stored(run, shard)}


def layout_of(run: RunDir) -> Layout:
    return Layout.from_json(json.loads(run.layout.read_text()))


def failures(run: RunDir, shard: int = 0) -> dict[int, FailedSample]:
    return {sample.row: sample for commit in commits(run, shard).values() for sample in commit.failed}


def content(run: RunDir, shard: int = 0) -> dict[int, Any]:
    """The bytes of every batch of a shard, checked against their hashes; where they lie is no matter."""
    found: dict[int, Any] = {}
    heads: dict[str, Head] = {}
    for attempt, commit in stored(run, shard):
        head = heads.get(attempt.name) or heads.setdefault(attempt.name, read_head(attempt))
        with BlockReader(head.files) as files:
            assert files.damaged(commit.blocks) == []
            blocks = iter([bytes(files.read(block)) for block in commit.blocks])
        rows: dict[str, bytes] = {}
        values: dict[str, bytes] = {}
        for output in head.layout.outputs if head.layout and commit.blocks else ():
            rows[output.name] = next(blocks)
            if output.ragged:
                values[output.name] = next(blocks)
        found[commit.start] = (rows, values, commit.failed)
    return found


def results(run: RunDir, shard: int = 0) -> dict[str, np.ndarray]:
    """The rows of every output of a shard, all of them fixed and none failed, as flat arrays."""
    batches = list(content(run, shard).values())
    return {
        output.name: np.frombuffer(b"".join(rows[output.name] for rows, _, _ in batches), output.dtype)
        for output in layout_of(run).outputs
    }


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; zombies that nobody waits for are dead."""
    return [process for process in processes if _runs(process)]


def await_end(processes: list[psutil.Process]) -> None:
    """Waits until none of them runs: who is killed or told to leave needs a CPU for it, for which others wait as well."""
    wait_until(lambda: not alive(processes))


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


def engine(folder: Path, place: str = "{socket}", **bad: str) -> list[str]:
    """The command of a fake engine, which keeps in a folder what happened once; ``row3``: what happens at that row's prompt."""
    told = json.dumps({row.removeprefix("row"): how for row, how in bad.items()}).replace("{", "{{").replace("}", "}}")
    return [sys.executable, "-m", "tests.support.fake_engine", place, told, str(folder)]


def engines(task: psutil.Process) -> list[psutil.Process]:
    """The fake engines that a task has started, below it."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in task.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "tests.support.fake_engine" in child.cmdline()[:3]:  # in its warden's it comes later
                    found.append(child)
    return found
