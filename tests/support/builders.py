"""Run directories made for tests without any task: manifest, plan and attempts through the storage layer."""

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from jobs.gather.gather import gather
from jobs.kinds import EndReason, FailureKind, SampleFailureKind
from jobs.storage.attempts import Attempt, Attempts, owners, read_head, read_records
from jobs.storage.beats import Beat, GivenUp, Held
from jobs.storage.blocks import BlockWriter, block_names
from jobs.storage.files import write_once
from jobs.storage.journal import Journal, encode
from jobs.storage.outputs import join, to_columns
from jobs.storage.plans import Plan
from jobs.storage.records import AttemptStart, Block, Commit, Commits, DataFile, FailedSample, JobSpec, Layout
from jobs.storage.rundir import RunDir
from jobs.storage.sample_failures import FailureTally
from jobs.storage.samples import BATCH_ROWS, METADATA_KEY
from jobs.storage.seals import seal_of, stamp
from jobs.storage.shard_table import Shard
from jobs.storage.spans import Range, Spans
from jobs.storage.submission import NodeSettings, Submission

Compute = Callable[[np.ndarray], dict[str, Any]]
"""Manifest rows (int64 [n]) -> what a Job's ``process`` would return for them."""

ELSEWHERE = {"host": "elsewhere", "boot": "", "pid": 1, "start": 1}
"""A ProcessIdentity of another machine."""


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
    tasks: int | None = None,
    node: NodeSettings | None = None,
) -> RunDir:
    """A planned run: folders, manifest (columns ``id``, if given, and ``x``), plan, one submission of all rows.

    Each of its ``tasks`` (None: one a shard) has a range of whole shards. Any number of samples may fail, unless
    ``node`` says otherwise.
    """
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
    submit(run, tasks=tasks, node=node)
    return run


def submit(
    run: RunDir,
    number: int = 1,
    *,
    tasks: int | None = None,
    rows: Spans | None = None,
    node: NodeSettings | None = None,
    claims: bool = False,
) -> Submission:
    """Writes a submission of these rows (None: all); ``claims`` makes the folder that says that it goes on."""
    plan = Plan.read(run.plan)
    tasks = tasks or plan.shard_count
    work = Spans([(0, plan.rows)]) if rows is None else rows
    cuts = [plan.boundaries[plan.shard_count * task // tasks] for task in range(tasks + 1)]
    ranges = tuple(pair for first, stop in itertools.pairwise(cuts) for pair in work.within(first, stop))
    node = node or NodeSettings(max_failed_samples=plan.rows)
    submission = Submission(number, "local", time.time(), tasks, work, ranges, node)
    if claims:
        run.claims(number).mkdir()
    submission.write(run.submission(number))
    return submission


class AttemptWriter:
    """Writes an attempt as an array task would, but for its claims. Nothing counts before a ``beat``.

    Names of attempts ascend: of one worker's attempts that were made by this class, the first comes first.
    """

    def __init__(
        self,
        run: RunDir,
        submission: int = 1,
        worker: int = 0,
        *,
        name: str | None = None,
        process: Mapping[str, Any] = ELSEWHERE,
        host: str = "host",
        began: float | None = None,
        processes: int = 1,
        **start: Any,
    ) -> None:
        """Makes the journal, and a data file for each process; ``start`` holds other fields of AttemptStart."""
        self.run = run
        self.submission = submission
        self.plan = Plan.read(run.plan)
        alike = f"{submission:04d}-{worker:05d}-"
        self.name = name or f"{alike}{len(list(run.attempts.glob(f'{alike}*.journal'))):08x}"
        self.journal = Journal(run.journal(self.name))
        told = {"index": worker, "versions": {"python": "3.11"}, "generation": self.plan.generation, **start}
        self.journal.append(
            AttemptStart(
                submission=submission,
                worker=worker,
                time=began or time.time(),
                host=host,
                process=dict(process),
                **told,
            )
        )
        self.layout: Layout | None = None
        self.commits: dict[int, Commit] = {}
        paths = [run.data(self.name, process) for process in range(processes)]
        self._files = [BlockWriter(path, process) for process, path in enumerate(paths)]
        self.journal.append(*(DataFile(process, path.name) for process, path in enumerate(paths)))
        self._held: list[Held] = []
        self._given_up: list[GivenUp] = []
        self._beats = 0
        self._advanced = 0.0
        self._done = Spans()

    def hold(self, start: int, stop: int, range_: int = 0, claim: int = 1) -> None:
        """Says in all beats from now on that it has this claim, whose commits come next; no file is made for it."""
        self._held.append(Held(range_, claim, start, stop, self.journal.size))

    def commit(
        self, start: int, stop: int, compute: Compute = everything, bad: Iterable[int] = (), process: int = 0
    ) -> Commit:
        """Stores and commits the batch of rows ``[start, stop)``, by that device process; its ``bad`` rows fail."""
        failed = frozenset(bad)
        failures = tuple(
            FailedSample(row, SampleFailureKind.LOAD, f"cannot read sample {row}: ☠", 2)
            for row in range(start, stop)
            if row in failed
        )
        rows = np.array([row for row in range(start, stop) if row not in failed], np.int64)
        blocks: tuple[Block, ...] = ()
        if len(rows):
            columns = join([(rows - start, to_columns(compute(rows), len(rows)))], stop - start)
            if self.layout is None:
                self.lay_out(Layout(tuple(column.form(name) for name, column in columns.items())))
            assert self.layout is not None
            blocks = self._files[process].append(self.layout, columns)
        commit = Commit(start, stop, blocks, failures)
        self.record(commit)
        return commit

    def commit_all(self, rows: Spans, compute: Compute = everything, bad: Iterable[int] = ()) -> None:
        """Commits all batches that begin in these rows, in row order."""
        failed = frozenset(bad)
        for start, stop in self.plan.table.batches(rows):
            self.commit(start, stop, compute, failed)

    def lay_out(self, layout: Layout) -> None:
        """Says what the outputs are; of the run too, where nobody has yet."""
        self.layout = layout
        self.journal.append(layout)
        write_once(self.run.layout, json.dumps(layout.to_json()).encode())

    def record(self, *commits: Commit) -> None:
        """Writes commits as they are, in one line."""
        self.journal.append(Commits(commits))
        self.commits.update((commit.start, commit) for commit in commits)

    def give_up(self, shard: int, kind: FailureKind = FailureKind.ERROR, message: str = "") -> None:
        """Says in all beats from now on that it will not go on with that shard."""
        self._given_up.append(GivenUp(shard, kind, message))

    def beat(self, done: Spans | None = None, **fields: Any) -> Beat:
        """Says that ``done`` (None: all that is committed) is durable; ``fields`` are others of Beat."""
        rows = Spans((commit.start, commit.stop) for commit in self.commits.values()) if done is None else done
        if rows != self._done:
            self._done, self._advanced = rows, time.time()
        counted = {"time": time.time(), "advanced": self._advanced, **self._counted(rows), **fields}
        given = {"done": rows, "claims": tuple(self._held), "given_up": tuple(self._given_up)}
        beat = Beat(self._beats, **{**given, **counted})
        self._beats += 1
        self.journal.append(beat)
        self.journal.sync()
        return beat

    def _counted(self, done: Spans) -> dict[str, Any]:
        table, tally, counts = self.plan.table, FailureTally(), Counter[int]()
        failed = [sample for commit in self.commits.values() if commit.start in done for sample in commit.failed]
        for sample in failed:
            shard = table.shard_at(sample.row)
            tally.add(sample.kind, sample.message, sample.row, shard)
            counts[shard] += 1
        whole = table.whole_shards(done)
        shared = {shard: n for shard, n in counts.items() if shard not in whole or n > self._limit(shard)}
        return {"ok": done.count - len(failed), "failed": len(failed), "shared": shared, "failures": tally.groups()}

    def _limit(self, shard: int) -> int:
        """How many samples of a shard may fail; any number where there is no submission of that number."""
        rows, path = self.plan.shard(shard).rows, self.run.submission(self.submission)
        return Submission.read(path).node.failure_budget(rows) if path.exists() else rows

    def end(
        self, reason: EndReason = EndReason.DONE, kind: FailureKind | None = None, message: str = "", **fields: Any
    ) -> None:
        """The last beat, which says that it ended."""
        self.beat(end=reason, kind=kind, message=message, **fields)
        self.close()

    def close(self) -> None:
        """Leaves without a word, as a process that was killed does."""
        self.journal.close()
        for file in self._files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def batches_of(plan: Plan, shard: Shard) -> dict[int, int]:
    """First row and end of each batch of a shard (whose rows are the manifest's)."""
    return dict(plan.table.batches(Spans([(shard.start, shard.stop)])))


def write_shard(
    run: RunDir,
    index: int,
    compute: Compute = everything,
    *,
    failed: Iterable[int] = (),
    batches: Sequence[int] | None = None,
    done: bool = True,
    submission: int = 1,
) -> str:
    """An attempt that commits the batches of a shard that begin at ``batches`` (default: all, in row order).

    The ``failed`` rows fail; it says that it had to stop where it is not ``done``. Returns its name.
    """
    plan = Plan.read(run.plan)
    shard = plan.shard(index)
    stops = batches_of(plan, shard)
    bad = frozenset(failed)
    writer = AttemptWriter(run, submission, index)
    writer.hold(shard.start, shard.stop, index)
    for start in stops if batches is None else batches:
        writer.commit(start, stops[start], compute, bad)
    writer.end(EndReason.DONE if done else EndReason.STOPPED)
    return writer.name


def write_range(
    run: RunDir, rows: Range, compute: Compute = everything, *, failed: Iterable[int] = (), worker: int = 0
) -> str:
    """An attempt that has done all of these rows; returns its name."""
    writer = AttemptWriter(run, 1, worker)
    writer.hold(*rows, worker)
    writer.commit_all(Spans([rows]), compute, failed)
    writer.end()
    return writer.name


def build_run(
    path: Path,
    boundaries: Sequence[int] = (0, 20, 50, 64),
    compute: Compute = everything,
    *,
    failed: Iterable[int] = (),
    **plan: Any,
) -> RunDir:
    """A run all rows of which are done, by an attempt of each of its tasks; ``plan`` holds options of build_plan."""
    run = build_plan(path, boundaries, **plan)
    bad = frozenset(failed)
    for worker, rows in enumerate(Submission.read(run.submission(1)).ranges):
        write_range(run, rows, compute, failed=bad, worker=worker)
    return run


def build_books(folder: Path, rows: int, failed: Iterable[int]) -> RunDir:
    """A run of samples with ids, which has its result beside it, books.h5, and none where results are."""
    run = build_run(folder / "books", (0, 20, 50, rows), failed=failed, ids=[f"böok {n}" for n in range(rows)])
    gather(run, output=folder / "books.h5")
    return run


def write_stub_result(run: RunDir, path: Path | None = None) -> None:
    """A file in the place of the result that says that it was made of what is stored now, and has nothing else."""
    plan = Plan.read(run.plan)
    (part,) = plan.results
    (path or run.result).write_bytes(stamp(seal_of(plan.fingerprint, part, owners(Attempts(run).read()))))


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


def attempt_named(run: RunDir, name: str) -> Attempt:
    return next(one for one in Attempts(run).read() if one.name == name)


def owner_of(run: RunDir, row: int) -> str:
    """The attempt that counts for a row."""
    return next(one.attempt.name for one in owners(Attempts(run).read()) if row in one.rows)


def find_blocks(run: RunDir, row: int, output: str, attempt: str | None = None) -> list[tuple[Path, Block]]:
    """Where an attempt (None: the one that counts) has an output of the batch of a row: one block, or two where ragged."""
    name = attempt or owner_of(run, row)
    found = attempt_named(run, name)
    head = read_head(found)
    assert head.layout is not None
    for record in read_records(found.journal):
        for commit in record.commits if isinstance(record, Commits) else ():
            if commit.start <= row < commit.stop:
                named = zip(block_names(head.layout), commit.blocks, strict=True)
                return [(head.files[block.file], block) for one, block in named if one == output]
    raise LookupError(row)


def damage(run: RunDir, row: int, output: str, position: int = 0, attempt: str | None = None) -> None:
    """Damages a byte of an output (of its values, where it is ragged) of the batch of a row."""
    path, block = find_blocks(run, row, output, attempt)[-1]
    flip_byte(path, block.offset + position % block.size)


def damage_commit(run: RunDir, row: int, attempt: str | None = None) -> None:
    """Damages the journal's line that has the commit of the batch of a row."""
    path = run.journal(attempt or owner_of(run, row))
    at = 0
    for record in read_records(path):
        assert record is not None
        if isinstance(record, Commits) and any(commit.start <= row < commit.stop for commit in record.commits):
            flip_byte(path, at + 40)
            return
        at += len(encode(record))
    raise LookupError(row)
