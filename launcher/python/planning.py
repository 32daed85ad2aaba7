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
from launcher.submit.settings import in_words_of
from launcher.submit.submit import write_planned

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
    call = _Call("launcher.plan", name, shards, sections)
    with call.given() as given:
        source = job_source(job if isinstance(job, type) else type(job), given)
        way = Way.of(keep_results=keep_results, fresh=fresh)
        return call.plan(source.section(params_of(job)), samples, given, way)


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
    node = sections.pop("node", None) or {}
    # What is no mapping, the config says what it has to be.
    sections["node"] = {"batch_size": _BATCH_OF_FUNCTION, **node} if isinstance(node, Mapping) else node
    call = _Call("launcher.map", name or called, shards, sections)
    with call.given() as given:
        source, rows = job_source(function, given), cast(Any, samples)
        params: dict[str, Any] = {"function": source.path}
        if given_samples.are_values(samples):
            rows, first = given_samples.looked_at(rows)
            params |= {} if given_samples.has_names(first) else {"column": given_samples.VALUE}
        kind = "AsyncFunction" if inspect.iscoroutinefunction(function) else "Function"
        section = source.section(params, f"jobs.function:{kind}")
        run = call.plan(section, rows, given, way)
    run.submit()
    return run


def open(run: str | os.PathLike[str]) -> Run:  # noqa: A001 - it is called as launcher.open
    """A run that is planned: by its directory, its name below runs/, or its config. Raises InputError where there is none."""
    return Run(chosen_run(_path("launcher.open", run)))


class _Call:
    """A call of launcher.plan or launcher.map, by whose name messages tell it, with the keys of a config that it was given."""

    def __init__(self, caller: str, name: str, shards: int | None, sections: Mapping[str, Any]) -> None:
        if "folder" in sections:
            raise InputError(
                f"{caller}: folder: relative paths start in the working directory; to have others: os.chdir"
            )
        runs = {"runs": _path(f"{caller}: runs", sections["runs"])} if sections.get("runs") is not None else {}
        self._caller, self._shards, self._sections = caller, shards, sections
        self._place = {"name": name, "folder": escaped(os.getcwd()), **runs}

    def given(self) -> Given:
        """What is given to the run, in its directory."""
        return Given(RunDir(made_run_folder(self._place, self._caller)))

    def plan(self, job: Mapping[str, Any], samples: Any, given: Given, way: Way) -> Run:
        """Plans the run of a section ``job`` over samples, with settings that replace those of before."""
        config = self._config(job, samples, given)
        choose_executor(config.executor).check(config)
        planned = make_plan(config, way)
        note(planned.run)
        write_planned(planned.run, config, planned.plan)
        notes = (*planned.notes, *given_samples.unseen_index(samples))
        return Run(planned.run, notes, _in_words_of(planned, config))

    def _config(self, job: Mapping[str, Any], samples: Any, given: Given) -> Config:
        said = self._plain("data", self._sections.get("data") or {})
        if not isinstance(said, dict):
            raise InputError(f"{self._caller}: data: must be a mapping of keys below it, not {said!r}")
        data = {**said, **({} if self._shards is None else {"shards": self._plain("shards", self._shards)})}
        if samples is not None:
            data["manifest"] = self._manifest(samples, given)
        rest = {key: self._plain(key, value) for key, value in self._sections.items() if key not in ("data", "runs")}
        return made_config({**self._place, **rest, "job": job, "data": data}, self._caller)

    def _manifest(self, samples: Any, given: Given) -> Any:
        if isinstance(samples, Run):
            return self._plain("samples", {"run": samples})
        if given_samples.is_place(samples):
            return self._plain("samples", samples)
        return escaped(given.samples(lambda path: given_samples.write(samples, path)))

    def _plain(self, key: str, value: Any) -> Any:
        return plain_or_refuse(f"{self._caller}: {key}", value)


def _path(what: str, value: Any) -> str:
    try:
        return os.fsdecode(value)
    except TypeError:
        raise InputError(f"{what}: {a_type(value)} is not valid; valid: a path") from None


def _in_words_of(planned: Planned, config: Config) -> Config:
    """The settings, of which those that decide the result are said as they were when the run was first planned."""
    if planned.is_new or config.folder != config_folder(planned.plan):
        return config
    return config_from_mapping(in_words_of(planned.plan, config.to_mapping()), config.path, profiles=config.profiles)
