"""Tryout: a few samples through a Job in this process: constructor, setup, load, collate, process, as array tasks do it.

There is no run directory and no other process, so that a debugger works and a traceback is the user's own.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jobs.errors import InputError
from jobs.job import Context, Job, make_job, sets_up_workers, takes_samples
from jobs.machine.devices import process_devices, too_few_gpus, usable_gpus
from jobs.machine.scratch import make_scratch
from jobs.monkey_patches import refusing_patches
from jobs.node.generators import sample_seed, seed_generators
from jobs.storage.outputs import Columns, check_form, to_columns
from jobs.storage.plans import Plan
from jobs.storage.records import JobSpec, Layout
from jobs.storage.rundir import RunDir
from jobs.storage.sample_columns import MoreColumns
from jobs.storage.sample_outputs import of_one_row, of_sample
from jobs.storage.samples import Sample, Samples
from jobs.storage.submission import NodeSettings
from jobs.storage.upstreams import Upstream
from launcher.config.config import Config
from launcher.config.settings import node_settings
from launcher.plan.config_check import column_problems, fold_problems, job_problems
from launcher.plan.guard import check_job_folder
from launcher.plan.new_plan import SEED, build, shard_boundaries
from launcher.tryout.described import Described
from launcher.tryout.stages import Stage, StageFailed, Stages
from launcher.tryout.watcher import watched


@dataclass(frozen=True)
class Chosen:
    """Which samples: the first ``count`` of all or of a shard, or those from a ``row`` on."""

    count: int | None = None
    shard: int | None = None
    row: int | None = None

    def rows(self, boundaries: Sequence[int]) -> range:
        """Raises InputError where there are none such."""
        if self.shard is not None and self.row is not None:
            raise InputError("--shard and --row both say which samples: give one of them")
        if self.count is not None and self.count < 1:
            raise InputError(f"--samples {self.count}: must be 1 or more")
        total, shards = boundaries[-1], len(boundaries) - 1
        if self.shard is not None and not 0 <= self.shard < shards:
            raise InputError(f"--shard {self.shard}: there is no such shard; there are 0-{shards - 1}")
        if self.row is not None and not 0 <= self.row < total:
            raise InputError(f"--row {self.row}: there is no such row; there are 0-{total - 1}")
        first, stop = self.row or 0, total
        if self.shard is not None:
            first, stop = boundaries[self.shard], boundaries[self.shard + 1]
        count = self.count or (3 if self.row is None else 1)
        return range(first, min(first + count, stop))


@dataclass(frozen=True)
class Tried:
    """What was found; ``is_good``: nothing has raised."""

    stages: tuple[Stage, ...]

    @property
    def is_good(self) -> bool:
        return not any(stage.error for stage in self.stages)

    def __repr__(self) -> str:
        failed = ",".join(stage.name for stage in self.stages if stage.error)
        return f"Tried({len(self.stages)} stages, {f'failed: {failed}' if failed else 'all went well'})"


def try_config(config: Config, chosen: Chosen, tell: Callable[[Stage], None], *, debug: bool = False) -> Tried:
    """Tries samples of a config. Raises InputError for all that planning refuses."""
    needed = _needed(config, config.job_spec)
    with _scratch() as scratch:
        path = scratch / "manifest.arrow"
        manifest = build(config, path)
        if problems := column_problems(needed, manifest, config.job_spec):
            raise InputError(config.origins.report(problems))
        rows = chosen.rows(shard_boundaries(config, manifest, path))
        samples = Samples(path, manifest.digests, _more(manifest.upstream))
        return _tried(config, config.job_spec, samples, rows, SEED, tell, scratch, debug)


def try_run(
    run: RunDir, plan: Plan, config: Config, chosen: Chosen, tell: Callable[[Stage], None], *, debug: bool = False
) -> Tried:
    """Tries samples of a run that is planned."""
    check_job_folder(run, plan)
    job = replace(config.job_spec, folder=plan.job.folder)
    _needed(config, job)
    samples = Samples(plan.manifest_file(run), plan.manifest_digests, _more(Upstream.of(plan)))
    with _scratch() as scratch:
        return _tried(config, job, samples, chosen.rows(plan.boundaries), plan.seed, tell, scratch, debug)


def _needed(config: Config, job: JobSpec) -> Sequence[str]:
    """The columns that the Job needs."""
    needed, problems = job_problems(job, config.node.workers)
    if problems := problems or fold_problems(config, job):
        raise InputError(config.origins.report(problems))
    return list(needed)


def _more(upstream: Upstream | None) -> MoreColumns | None:
    if upstream is None:
        return None
    from jobs.gather.upstream_rows import UpstreamRows  # few runs need it

    return UpstreamRows(upstream)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    folder = make_scratch()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tried(
    config: Config,
    spec: JobSpec,
    samples: Samples,
    rows: range,
    seed: int,
    tell: Callable[[Stage], None],
    scratch: Path,
    debug: bool,
) -> Tried:
    context = _context(node_settings(config), scratch, seed)
    with (
        watched(), Stages(tell, debug=debug) as stages, contextlib.chdir(spec.folder or "."), contextlib.suppress(StageFailed)
    ):  # fmt: skip
        job = stages.run("constructor", partial(make_job, spec), show=None)
        # As in a run: what one object keeps, the other has not.
        worker = make_job(spec) if config.node.workers else job
        index = 0 if config.node.workers else None
        with contextlib.ExitStack() as ends:  # what a Job has started would stay, in a notebook for good
            with refusing_patches():
                stages.run(
                    "setup_worker", partial(worker.setup_worker, replace(context, worker_index=index)), show=None
                )
                if worker is not job and sets_up_workers(worker):
                    ends.callback(_tear_down, "teardown (worker)", worker, stages)
                stages.run("setup", partial(job.setup, context), show=None)
                ends.callback(_tear_down, "teardown", job, stages)
            layout: list[Layout] = []
            for start in range(rows.start, rows.stop, config.node.batch_size):
                batch = range(start, min(start + config.node.batch_size, rows.stop))
                _batch(job, worker, list(samples.rows(batch.start, batch.stop)), seed, stages, layout)
    return Tried(tuple(stages.all))


def _tear_down(name: str, job: Job, stages: Stages) -> None:
    with contextlib.suppress(StageFailed):
        stages.run(name, job.teardown, show=None)


def _context(node: NodeSettings, scratch: Path, seed: int) -> Context:
    """That of the first process; of GPUs that would be its own, this process has all others as well."""
    usable = usable_gpus(node)
    if problem := too_few_gpus(replace(node, processes=1), usable):
        raise InputError(problem)
    own: tuple[str, ...] = (process_devices(node, usable)[0],)
    if node.gpus_per_process:
        own = tuple(f"cuda:{number}" for number in usable[: node.gpus_per_process])
    return Context(own[0], 0, None, scratch, seed, node.in_flight, own)


def _batch(job: Job, worker: Job, samples: Sequence[Sample], seed: int, stages: Stages, layout: list[Layout]) -> None:
    """Loads, and processes what could be loaded: a bad sample fails alone, as in a run.

    ``layout`` is that of the first outputs, which those of all others have to have. Generators are seeded as for a batch of
    a run that begins here.
    """
    loaded: list[tuple[Sample, Any]] = []
    one_by_one = takes_samples(type(job))
    seed_generators(seed, samples[0].index)
    for sample in samples:
        if one_by_one:
            seed_generators(seed, sample.index)
        with contextlib.suppress(StageFailed):
            loaded.append((sample, stages.run("load", partial(worker.load, sample), sample=_name(sample))))
    if one_by_one:
        _one_by_one(job, loaded, seed, stages, layout)
    elif loaded:
        batch = stages.run("collate", partial(worker.collate, [item for _, item in loaded]))
        seed_generators(seed, samples[0].index)
        outputs = stages.run("process", partial(job.process, batch))
        stages.run("stored", lambda: _agreed(to_columns(outputs, len(loaded)), layout), show=_forms)


def _one_by_one(
    job: Job, loaded: Sequence[tuple[Sample, Any]], seed: int, stages: Stages, layout: list[Layout]
) -> None:
    """Each row with its own seed; what is stored of it has the form of those before."""
    for sample, item in loaded:
        step = partial(job.process_sample, item, sample_seed(seed, sample.index))
        with contextlib.suppress(StageFailed):
            outputs = stages.run("process_sample", step, sample=_name(sample))
            stages.run("stored", partial(_row, outputs, layout), sample=_name(sample), show=_forms)


def _row(outputs: Any, layout: list[Layout]) -> Columns:
    return _agreed(to_columns(of_one_row(of_sample(outputs)), 1), layout)


def _agreed(columns: Columns, layout: list[Layout]) -> Columns:
    """The columns, if they have the layout, which is made by the first; raises OutputError."""
    forms = tuple(column.form(name) for name, column in columns.items())
    layout[:] = [(layout and layout[0].joined(forms)) or Layout(forms if not layout else layout[0].outputs)]
    check_form(columns, layout[0].outputs)
    return columns


def _name(sample: Sample) -> str:
    return str(sample.row) if sample.id == str(sample.row) else f"{sample.row} ({sample.id})"


def _forms(columns: Columns) -> Iterator[Described]:
    """How each output will be in the result."""
    for form in (column.form(name) for name, column in columns.items()):
        if form.open:
            yield Described(form.name, "rows of any length, all empty so far", None, None, "")
            continue
        content = "bytes" if form.encoding == "bytes" else "text"
        kind = content if form.encoding else "rows of any length" if form.ragged else "array"
        shape: tuple[int | str, ...] | None = ("n", *form.shape) if not form.encoding else None
        yield Described(form.name, kind, None if form.encoding else np.dtype(form.dtype).name, shape, "")
