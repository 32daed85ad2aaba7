"""RunBackend: the backend of a task's children: Job and samples of a planned run, results into the shard file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.job import Job, make_job
from jobs.kinds import FailureKind, SampleFailureKind
from jobs.machine import disk
from jobs.node.batches import BatchWork
from jobs.node.messages import Allocate, Allocated, Broken, Loaded, OpenShard
from jobs.node.worker.loading import failed_sample, print_traceback
from jobs.storage.outputs import Columns, check_form, own, to_columns
from jobs.storage.records import Commit, FailedSample, JobSpec, Layout, Segment, Shard
from jobs.storage.rundir import RunDir
from jobs.storage.samples import Samples
from jobs.storage.shard_file import ShardFile


@dataclass(frozen=True)
class RunBackend:
    """A run directory, and the Job of its plan."""

    run: RunDir
    spec: JobSpec

    def job(self) -> Job:
        return make_job(self.spec)

    def samples(self) -> Samples:
        return Samples(self.run.manifest)

    def own(self, outputs: Any) -> Any:
        return own(outputs)

    def writer(self, ask: Callable[[Allocate], Allocated]) -> "ShardWriter":
        return ShardWriter(self.run, ask)

    def failed(self, row: int, stage: SampleFailureKind, error: BaseException) -> FailedSample:
        """The record of the sample; its traceback goes into the log."""
        print_traceback(row, stage, error)
        return failed_sample(row, stage, error)

    def broken(self, error: OSError) -> Broken:
        return Broken(
            FailureKind.DISK if disk.is_failing(error) else FailureKind.ERROR, disk.describe(error, self.run.path)
        )


class ShardWriter:
    """Checks outputs against the shard's layout and writes them where their rows belong in the shard file."""

    def __init__(self, run: RunDir, ask: Callable[[Allocate], Allocated]) -> None:
        self._run = run
        self._ask = ask
        self._shard = Shard(0, 0, 0)
        self._file: ShardFile | None = None

    def open(self, message: OpenShard) -> None:
        self._shard = message.shard
        self._open_file(message.layout)

    def _open_file(self, layout: Layout | None) -> None:
        if self._file:
            self._file.close()
        self._file = ShardFile.open(self._run, self._shard, layout, write=True) if layout else None

    def keep(self, outputs: object, loaded: Loaded, work: BatchWork) -> None:
        columns = to_columns(outputs, len(loaded.rows))
        self._check(columns, work)
        work.add(loaded.piece, loaded.rows, columns)

    def _check(self, columns: Columns, work: BatchWork) -> None:
        """Raises OutputError where outputs differ from the shard's layout or, before it is known, from the batch's."""
        outputs = self._file.layout.outputs if self._file else work.forms()
        if outputs:
            check_form(columns, outputs)

    def store(self, work: BatchWork) -> Commit:
        """Raises OutputError where another process found another layout first."""
        columns = work.columns()
        hashes, segments = self._write(work, columns) if columns else ({}, {})
        failed = tuple(sorted(work.failed.values(), key=lambda sample: sample.row))
        split = work.split or bool(failed)
        return Commit(work.batch.start, work.batch.stop, hashes, segments, failed, split, work.seconds)

    def _write(self, work: BatchWork, columns: Columns) -> tuple[dict[str, str], dict[str, Segment]]:
        sizes = {name: column.data.nbytes for name, column in columns.items() if column.lengths is not None}
        ends: Mapping[str, int] = {}
        if self._file is None or sizes:
            allocated = self._ask(Allocate(tuple(column.form(name) for name, column in columns.items()), sizes))
            ends = allocated.ends
            if self._file is None:
                self._open_file(allocated.layout)
        assert self._file is not None
        self._check(columns, work)  # what was kept before there was a layout was checked against itself alone
        return self._file.write(work.batch.start, columns, ends)
