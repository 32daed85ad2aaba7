"""What is wrong with a config that only trying shows: its Job, the columns that the Job needs, the place of the result."""

import inspect
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from jobs.errors import InputError
from jobs.gather.objection import objection
from jobs.job import Job, has_reduce, job_class, make_job, needed_columns, takes_samples
from jobs.job_check import check_work
from jobs.machine import streams
from jobs.nearest import did_you_mean, nearest
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir
from jobs.storage.upstreams import Upstream
from launcher.catalogue.param_types import check_params
from launcher.config.config import Config
from launcher.config.origins import Problem
from launcher.manifest.manifest import ManifestInfo
from launcher.patience import telling


def job_problems(job: JobSpec, workers: int) -> tuple[Collection[str], list[Problem]]:
    """Makes a Job as array tasks will, if its params are of the right types: the columns that it needs, and what is wrong.

    ``workers``: pool workers of a process. What its module prints goes to stderr.
    """
    with streams.kept_clear(), telling(f"importing {job.path}"):
        try:
            cls = job_class(job)
            problems = check_params(cls, job.path, job.params) or _loading_problems(cls, workers)
            if problems:
                return (), problems
            made = make_job(job)
            check_work(cls)
            return needed_columns(made), []
        except InputError as error:
            return (), [_placed(str(error), job)]


def _loading_problems(cls: type[Job], workers: int) -> list[Problem]:
    if workers or not takes_samples(cls) or not inspect.iscoroutinefunction(cls.load):
        return []
    why = f"{cls.__name__} has process_sample and a load that is `async def`, which needs pool workers: 1 or more"
    return [(("node", "workers"), why)]


def column_problems(needed: Collection[str], manifest: ManifestInfo, job: JobSpec) -> list[Problem]:
    """What a Job needs and the manifest lacks, with the parameter that names it, where one does."""
    upstream = manifest.upstream
    columns = [*manifest.columns, *(upstream.outputs if upstream else ())]
    return [
        (
            ("job", "params", *[key for key, value in job.params.items() if value == name][:1]),
            f"{job.path} needs the column {name!r}, which the manifest lacks{did_you_mean(nearest(name, columns))}; "
            f"its columns: {', '.join(columns)}{_as_output(name, upstream)}",
        )
        for name in needed
        if name not in columns
    ]


def _as_output(name: str, upstream: Upstream | None) -> str:
    """What to say where it may be what another run has computed, which is a column only where the config says so."""
    if upstream is None:
        return ""
    outputs = ", ".join([*upstream.outputs, name])
    return f"; where it is an output of {upstream.name}, say so: data.manifest.outputs: [{outputs}]"


def _placed(message: str, job: JobSpec) -> Problem:
    """A message of the Job's own with the key that it is about: it begins with job.class, or with a parameter."""
    if message.startswith("job.class: "):
        return ("job", "class"), message.removeprefix("job.class: ")
    text = message.removeprefix("job.params: ")
    subject, _, rest = text.partition(": ")
    return (("job", "params", subject), rest) if subject in job.params else (("job", "params"), text)


def fold_problems(config: Config, job: JobSpec) -> list[Problem]:
    """A Job that folds its results needs gather, which does that."""
    if (config.output.gather and not config.output.format) or not has_reduce(make_job(job)):
        return []
    key, remedy = ("format", "leave it out") if config.output.format else ("gather", "leave it true")
    return [(("output", key), f"{job.path} folds its results (reduce), which gather does: {remedy}")]


def output_problems(config: Config) -> list[Problem]:
    names: list[str | None] = [*config.data.manifests] or [None]
    if store := config.result_form.store:
        return _store_problems(config, store, names)
    path, run = config.output_path, RunDir(config.run_folder)
    if path is None:
        return []
    results = {run.result_of(name, path): None for name in names}
    folders = {result.parent: None for result in results if result.parent != run.path}
    found = [*map(_folder_problem, folders), *(objection(result, run, is_new=True) for result in results)]
    return [(("output", "path"), problem) for problem in found if problem]


def _store_problems(config: Config, store: str, names: Sequence[str | None]) -> list[Problem]:
    from launcher.delivery import store_place  # few results go to a store

    run, format_ = RunDir(config.run_folder), config.output.format
    with telling(f"trying whether results may be written to {store}"):
        found = [(("output", "path"), store_place.problem(store, run, name, is_folder=bool(format_))) for name in names]
    if format_:
        from launcher.export.export import format_problem  # it takes a while

        found.append((("output", "format"), format_problem(format_)))
    return [(key, problem) for key, problem in found if problem]


def _folder_problem(folder: Path) -> str | None:
    """Why no result could be written there: to be known before all is computed."""
    if not folder.is_dir():
        return f"no such folder: {folder}"
    try:
        with tempfile.TemporaryFile(prefix=".try-", suffix=".tmp", dir=folder):
            return None
    except OSError as error:
        return f"{folder}: nothing can be written there: {error.strerror}"
