"""Run directories made for tests without any task: manifest, plan, shards and journals through the storage layer."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.kinds import EndReason, SampleFailureKind
from jobs.storage.files import rename_synced
from jobs.storage.journal import Journal, replay
from jobs.storage.outputs import Columns, join, to_columns
from jobs.storage.plans import NodeSettings, Plan, Submission
from jobs.storage.records import AttemptEnd, AttemptStart, Commit, FailedSample, JobSpec, Record, Segment, Shard
from jobs.storage.rundir import RunDir
from jobs.storage.samples import BATCH_ROWS, METADATA_KEY
from jobs.storage.shard_file import ShardFile, create_shard_file

Compute = Callable[[np.ndarray], dict[str, Any]]
"""Manifest rows (int64 [n]) -> what a Job's ``process`` would return for them."""


def vectors(rows: np.ndarray) -> dict[str, Any]:
    """One fixed float output: row r holds r, r + 0.25, r + 0.5, r + 0.75."""
    return {"vector": (rows[:, None] + np.arange(4) / 4).astype(np.float32)}


def everything(rows: np.ndarray) -> dict[str, Any]:
    """One output of each kind; lengths differ from row to row and are sometimes 0."""
    return {
        **vectors(rows),
        "label": rows.astype(np.int16),
        "flag": rows % 2 == 0,
        "tokens": [np.arange(row % 4, dtype=np.int32) + row for row in rows],
        "boxes": [np.full((row % 3, 4), row, np.float64) for row in rows],
        "text": [f"söme text {row}" * int(row % 3) for row in rows],
        "blob": [bytes([row % 256]) * int(row % 5) for row in rows],
    }


def write_manifest(path: Path, columns: Mapping[str, Sequence[Any]], id_column: str | None) -> None:
    """manifest.arrow as the planner writes it."""
    table = pa.table(dict(columns)).replace_schema_metadata({METADATA_KEY: json.dumps({"id": id_column})})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)


def build_plan(
    path: Path,
    boundaries: Sequence[int],
    *,
    ids: Sequence[Any] | None = None,
    batch_size: int = 8,
    job: JobSpec | None = None,
    config: dict[str, Any] | None = None,
) -> RunDir:
    """A planned run: folders, manifest (columns ``id``, if given, and ``x``), plan, one submission."""
    run = RunDir(path)
    run.make()
    rows = boundaries[-1]
    columns: dict[str, Sequence[Any]] = {"x": range(rows)} if ids is None else {"id": ids, "x": range(rows)}
    id_column = None if ids is None else "id"
    write_manifest(run.manifest, {name: list(values) for name, values in columns.items()}, id_column)
    plan = Plan(
        name=run.name, fingerprint="f" * 16, created=time.time(), rows=rows, id_column=id_column,
        boundaries=tuple(boundaries), job=job or JobSpec("jobs.job:Job"), batch_size=batch_size, seed=1,
        config=config or {"name": run.name},
    )  # fmt: skip
    plan.write(run.plan)
    groups = tuple((index,) for index in range(plan.shard_count))
    Submission(1, "local", time.time(), groups, NodeSettings()).write(run.submission(1))
    return run


class ShardWriter:
    """Writes one shard as an array task would, in one attempt."""

    def __init__(self, run: RunDir, shard: Shard) -> None:
        self._run = run
        self._shard = shard
        self._journal = Journal(run.journal(shard.index))
        self._history = replay(run.journal(shard.index))
        attempt = len(self._history.attempts) + 1
        self._append(AttemptStart(attempt, 1, time.time(), "host", 1, versions={"python": "3.11"}))

    def _append(self, record: Record) -> None:
        self._journal.append([record])
        self._history.apply(record)

    def commit(self, start: int, stop: int, compute: Compute, bad: frozenset[int] = frozenset()) -> None:
        """Writes and commits one batch; its ``bad`` rows fail."""
        failures = tuple(
            FailedSample(row, SampleFailureKind.LOAD, f"cannot read sample {row}: ☠", 2)
            for row in range(start, stop)
            if row in bad
        )
        rows = np.array([row for row in range(start, stop) if row not in bad], np.int64)
        parts = [(rows - start, to_columns(compute(rows), len(rows)))] if len(rows) else []
        columns = join(parts, stop - start)
        hashes, segments = self._write(start, columns) if columns else ({}, {})
        self._append(Commit(start, stop, hashes, segments, failures))

    def _write(self, start: int, columns: Columns) -> tuple[dict[str, str], dict[str, Segment]]:
        if self._history.layout is None:
            forms = [column.form(name) for name, column in columns.items()]
            self._append(create_shard_file(self._run.shard_part(self._shard.index), self._shard, forms))
        assert self._history.layout is not None
        with ShardFile.open(self._run, self._shard, self._history.layout, write=True) as file:
            return file.write(start, columns, file.value_ends())

    def end(self, *, done: bool) -> None:
        """Ends the attempt; a shard that is done gets its final name."""
        reason = EndReason.DONE if done else EndReason.STOPPED
        self._append(AttemptEnd(reason, time.time(), self._history.ok, self._history.failed))
        self._journal.close()
        if not done:
            return
        part = self._run.shard_part(self._shard.index)
        if self._history.layout is None:
            create_shard_file(part, self._shard, ())
        rename_synced(part, self._run.shard_done(self._shard.index))


def write_shard(
    run: RunDir,
    index: int,
    compute: Compute = everything,
    *,
    failed: Iterable[int] = (),
    batches: Sequence[int] | None = None,
    done: bool = True,
) -> None:
    """Commits the batches that begin at ``batches`` (default: all, in row order); the ``failed`` rows fail."""
    plan = Plan.read(run.plan)
    shard = plan.shard(index)
    writer = ShardWriter(run, shard)
    bad = frozenset(failed)
    for start in shard.batches(plan.batch_size) if batches is None else batches:
        writer.commit(start, shard.batch_stop(start, plan.batch_size), compute, bad)
    writer.end(done=done)


def build_run(
    path: Path,
    boundaries: Sequence[int] = (0, 20, 50, 64),
    compute: Compute = everything,
    *,
    failed: Iterable[int] = (),
    **plan: Any,
) -> RunDir:
    """A run whose shards are all done; ``plan`` holds options of build_plan."""
    run = build_plan(path, boundaries, **plan)
    bad = frozenset(failed)
    for index in range(len(boundaries) - 1):
        write_shard(run, index, compute, failed=bad)
    return run


def change_plan(run: RunDir, **changes: Any) -> None:
    """Writes the plan again with other fields."""
    replace(Plan.read(run.plan), **changes).write(run.plan)


def flip_byte(path: Path, position: int) -> None:
    """Damages one byte of a file."""
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 0xFF]))
