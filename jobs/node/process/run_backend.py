"""RunBackend: the backend of a task's children: Job and samples of a planned run, results into the attempt's data files."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jobs.errors import LauncherError, OutputError, RunError
from jobs.job import Job, job_class, make_job, names_of
from jobs.kinds import FailureKind, SampleFailureKind
from jobs.machine import disk
from jobs.node.batches import BatchWork
from jobs.node.messages import Allocate, Allocated, Broken, Loaded
from jobs.node.worker.loading import failed_sample, print_traceback
from jobs.storage import counts
from jobs.storage.blocks import BlockWriter
from jobs.storage.outputs import Columns, check_form, to_columns
from jobs.storage.records import Commit, FailedSample, JobSpec, Layout
from jobs.storage.rundir import RunDir
from jobs.storage.sample_columns import MoreColumns
from jobs.storage.sample_ids import SampleIds
from jobs.storage.sample_outputs import of_many_rows, of_sample
from jobs.storage.samples import Samples
from jobs.storage.upstreams import Upstream


def prepare(upstream: Upstream | None) -> None:
    """What is the same for all children, done before they are forked; what is wrong with it each of them tells."""
    if upstream is not None:
        from jobs.gather.upstream_rows import find  # few runs need it

        with suppress(LauncherError, OSError):
            find(upstream)


@dataclass(frozen=True)
class RunBackend:
    """A run directory, Job and number of rows of its plan, and the attempt that the children are of.

    ``digests`` are those of the manifest as it was planned, ``manifest`` the name that the plan has for it; ``upstream``: the
    run whose samples they are.
    """

    joins_batches: ClassVar[bool] = True

    run: RunDir
    spec: JobSpec
    rows: int
    attempt: str
    digests: tuple[str, ...] = ()
    manifest: str | None = None
    upstream: Upstream | None = None

    @property
    def _manifest(self) -> Path:
        return self.run.manifest_of(self.manifest)

    def job(self) -> Job:
        return make_job(self.spec)

    def samples(self) -> Samples:
        """Raises RunError where they are not those of the plan, as far as their number and the run that they are of tell."""
        samples = Samples(path := self._manifest, self.digests, self._more())
        if len(samples) != self.rows:
            raise RunError(f"{path} has {len(samples)} rows, and the plan {self.rows}: plan a new run")
        return samples

    def _more(self) -> MoreColumns | None:
        if self.upstream is None:
            return None
        from jobs.gather.upstream_rows import UpstreamRows  # few runs need it

        return UpstreamRows(self.upstream)

    def results(self, outputs: Any, rows: int, *, own: bool) -> Columns:
        return to_columns(outputs, rows, own=own)

    def sample_results(self, outputs: Any) -> dict[str, Any]:
        return of_sample(outputs)

    def writer(self, process: int, ask: Callable[[Allocate], Allocated]) -> "BatchWriter":
        counted = names_of(job_class(self.spec), "counts")
        return BatchWriter(BlockWriter(self.run.data(self.attempt, process), process), ask, counted)

    def failed(self, row: int, stage: SampleFailureKind, error: BaseException) -> FailedSample:
        """The record of the sample; its traceback goes into the log."""
        print_traceback(lambda: SampleIds(self._manifest).name(row), stage, error)
        return failed_sample(row, stage, error)

    def broken(self, error: OSError) -> Broken:
        return Broken(
            FailureKind.DISK if disk.is_failing(error) else FailureKind.ERROR, disk.describe(error, self.run.path)
        )


class BatchWriter:
    """Checks outputs against the run's layout and appends them to the data file of the process.

    It learns the layout with its first batch. One that takes the place of a process that died asks again. ``counted`` are
    the outputs whose sums go with its commits.
    """

    def __init__(
        self, blocks: BlockWriter, ask: Callable[[Allocate], Allocated], counted: tuple[str, ...] = ()
    ) -> None:
        self._blocks = blocks
        self._ask = ask
        self._counted = counted
        self._layout: Layout | None = None

    def keep(self, results: Columns, loaded: Loaded, work: BatchWork) -> None:
        """Raises OutputError where outputs differ from the layout, or from the batch's, which may say what it leaves open.

        So the parts of a batch go together, and what ``store`` has against them is always something new about the layout.
        """
        for outputs in (self._layout.outputs if self._layout else (), work.forms()):
            if outputs:
                check_form(results, outputs)
        work.add(loaded.piece, loaded.rows, results)

    def store(self, work: BatchWork) -> Commit:
        """Raises OutputError where the run has another layout."""
        columns = work.columns()
        # What was kept before there was a layout was checked against itself alone.
        blocks = self._blocks.append(self._layout_of(columns), columns) if columns else ()
        failed = tuple(sorted(work.failed.values(), key=lambda sample: sample.row))
        split = work.split or bool(failed)
        sums = counts.of_batch(columns, self._counted)
        return Commit(work.batch.start, work.batch.stop, blocks, failed, split, work.seconds, sums, work.load_seconds)

    def store_rows(self, rows: Sequence[tuple[int, dict[str, Any], float, float]]) -> list[Commit]:
        """Stores batches of one row each, of which no sample failed: (row, outputs of the sample, seconds, of loading).

        Raises OutputError where they are to be taken one by one.
        """
        outputs = of_many_rows([outputs for _, outputs, *_ in rows])
        if outputs is None:
            raise OutputError("the samples differ")
        columns = to_columns(outputs, len(rows))
        blocks = self._blocks.append_rows(self._layout_of(columns), columns)
        sums = counts.of_rows(columns, self._counted)
        return [
            Commit(row, row + 1, own, (), False, seconds, counted, load_seconds)
            for (row, _, seconds, load_seconds), own, counted in zip(rows, blocks, sums, strict=True)
        ]

    def _layout_of(self, columns: Columns) -> Layout:
        """The run's layout, which these columns are of; raises OutputError where they are not."""
        forms = tuple(column.form(name) for name, column in columns.items())
        if self._layout is None or self._layout.joined(forms) not in (None, self._layout):
            self._layout = self._ask(Allocate(forms)).layout
        check_form(columns, self._layout.outputs)
        return self._layout
