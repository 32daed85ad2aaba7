"""Planning from Python: a Job and samples, or a function, become a run, as a config does."""

import inspect
import os
from collections.abc import Mapping
from typing import Any, cast

from jobs.errors import InputError, a_type
from jobs.job import Job
from jobs.storage.rundir import RunDir
from launcher.commands.chosen_run import chosen_run
from launcher.config.config import Config, config_from_mapping, made_config
from launcher.config.place import made_run_folder
from launcher.config.variables import escaped
from launcher.executors import choose_executor
from launcher.plan.guard import Way, config_folder
from launcher.plan.plan import Planned, make_plan
from launcher.python import samples as given_samples
from launcher.python.given import Given
from launcher.python.job_source import function_name, job_source, params_of
from launcher.python.plain import plain_or_refuse
from launcher.python.run import Run
from launcher.runs.index import note
from launcher.submit.submit import in_words_of, write_planned

# What was called, in messages: in the place of a config's name.
_PLAN, _MAP = "launcher.plan", "launcher.map"
# A function may take minutes; what takes microseconds gets larger batches by node={"batch_size": ...}.
_BATCH_OF_FUNCTION = 1


def plan(
    job: Job | type[Job],
    samples: given_samples.Samples = None,
    *,
    name: str,
    shards: int | None = None,
    keep_results: bool = False,
    fresh: bool = False,
    **sections: Any,
) -> Run:
    """Plans the run of a Job over samples, and checks all that can be checked before a node is asked for; submits nothing.

    ``job`` is made with plain values, as a config has them. It may be defined in a module, in the script that runs, or in a
    notebook's cells. ``samples``: what data.manifest may be (a path, a pattern, several by names), a DataFrame, an Arrow
    table, or an iterable of mappings; of other values each is a sample with the column ``value``; another run: its samples.

    ``sections`` are the other keys of a config, as mappings: node, slurm, local, retry, output, data, executor, runs, after,
    notify. Relative paths start in the working directory. Planned again with the same, it is the same run; once there are
    results, what decides them may change only with ``keep_results`` (they stay right) or ``fresh`` (all is computed again).

    Raises InputError for all that is wrong.
    """
    if not (isinstance(job, Job) or (isinstance(job, type) and issubclass(job, Job))):
        raise InputError(f"job: {a_type(job)} is not valid; valid: a Job, or a class of Jobs; a function: launcher.map")
    place = _place(_PLAN, name, sections)
    with Given(RunDir(made_run_folder(place, _PLAN))) as given:
        source = job_source(job if isinstance(job, type) else type(job), given)
        section = {
            "class": source.path,
            "params": params_of(job),
            "import_from": [escaped(folder) for folder in source.import_from],
        }
        way = Way.of(keep_results=keep_results, fresh=fresh)
        return _planned(_PLAN, place, section, samples, shards, sections, given, way)


def map(  # noqa: A001 - it is called as launcher.map
    function: Any,
    samples: given_samples.Samples,
    *,
    name: str | None = None,
    shards: int | None = None,
    keep_results: bool = False,
    fresh: bool = False,
    **sections: Any,
) -> Run:
    """Plans a run that calls ``function`` with each sample, and submits what is not done; ``wait()`` for it.

    Samples and sections are those of ``plan``. The function gets a sample as a dict, or the value itself where samples are
    plain values. What it returns is the output ``result``, or of a dict an output by each of its names. Each call is a batch;
    for short ones give node={"batch_size": 64}. Of an ``async def`` function node={"in_flight": 64} calls are made at a time.
    """
    called, way = function_name(function), Way.of(keep_results=keep_results, fresh=fresh)
    place = _place(_MAP, name or called, sections)
    with Given(RunDir(made_run_folder(place, _MAP))) as given:
        source, rows = job_source(function, given), cast(Any, samples)
        params: dict[str, Any] = {"function": source.path}
        if given_samples.are_values(samples):
            rows, first = given_samples.looked_at(rows)
            params |= {} if given_samples.has_names(first) else {"column": given_samples.VALUE}
        kind = "AsyncFunction" if inspect.iscoroutinefunction(function) else "Function"
        section = {
            "class": f"jobs.function:{kind}",
            "params": params,
            "import_from": [escaped(folder) for folder in source.import_from],
        }
        node = sections.pop("node", None) or {}
        if isinstance(node, Mapping):  # else the config says what it has to be
            node = {"batch_size": _BATCH_OF_FUNCTION, **node}
        run = _planned(_MAP, place, section, rows, shards, {**sections, "node": node}, given, way)
    run.submit()
    return run


def open(run: str | os.PathLike[str]) -> Run:  # noqa: A001 - it is called as launcher.open
    """A run that is planned: by its directory, its name below runs/, or its config. Raises InputError where there is none."""
    return Run(chosen_run(_path("launcher.open", run)))


def _place(caller: str, name: str, sections: Mapping[str, Any]) -> dict[str, Any]:
    """What says where the run is."""
    if "folder" in sections:
        raise InputError(f"{caller}: folder: relative paths start in the working directory; to have others: os.chdir")
    runs = {"runs": _path(f"{caller}: runs", sections["runs"])} if sections.get("runs") is not None else {}
    return {"name": name, "folder": escaped(os.getcwd()), **runs}


def _path(what: str, value: Any) -> str:
    try:
        return os.fsdecode(value)
    except TypeError:
        raise InputError(f"{what}: {a_type(value)} is not valid; valid: a path") from None


def _planned(
    caller: str,
    place: Mapping[str, Any],
    job: Mapping[str, Any],
    samples: Any,
    shards: int | None,
    sections: Mapping[str, Any],
    given: Given,
    way: Way,
) -> Run:
    said = _plain(caller, "data", sections.get("data") or {})
    if not isinstance(said, dict):
        raise InputError(f"{caller}: data: must be a mapping of keys below it, not {said!r}")
    data = {**said, **({} if shards is None else {"shards": _plain(caller, "shards", shards)})}
    if samples is not None:
        data["manifest"] = _manifest(caller, samples, given)
    rest = {key: _plain(caller, key, value) for key, value in sections.items() if key not in ("data", "runs")}
    config = made_config({**place, **rest, "job": job, "data": data}, caller)
    choose_executor(config.executor).check(config)
    planned = make_plan(config, way)
    note(planned.run)
    write_planned(planned.run, config, planned.plan)
    return Run(planned.run, (*planned.notes, *given_samples.unseen_index(samples)), _in_words_of(planned, config))


def _in_words_of(planned: Planned, config: Config) -> Config:
    """The settings, of which those that decide the result are said as they were when the run was first planned."""
    if planned.is_new or config.folder != config_folder(planned.plan):
        return config
    return config_from_mapping(in_words_of(planned.plan, config.to_mapping()), config.path, profiles=config.profiles)


def _plain(caller: str, key: str, value: Any) -> Any:
    return plain_or_refuse(f"{caller}: {key}", value)


def _manifest(caller: str, samples: Any, given: Given) -> Any:
    if isinstance(samples, Run):
        return _plain(caller, "samples", {"run": samples})
    if given_samples.is_place(samples):
        return _plain(caller, "samples", samples)
    return escaped(given.samples(lambda path: given_samples.write(samples, path)))
