"""Config: config.yaml as one frozen model, every default filled in.

Rules that hold for the whole file:

- Paths (``runs``, ``data.manifest``, ``slurm.template``, ``output.path``) are relative to ``folder``, which is the
  config file's own where that does not say another, so that a config gives the same run from any working directory.
  ``Config`` keeps them as written, but for variables (variables.py); its properties give the absolute ones.
- Where it is silent, those that it includes hold (includes.py), then profiles (profiles.py), each path in them
  relative to their own folder.
- Sizes and times are written as for sbatch (units.py) and kept in one spelling, so that ``240`` and
  ``4:00:00`` compare as equal.
- Without ``data.shards`` and ``data.samples_per_shard`` the number of shards follows from the number of
  samples (plan.sharding.default_shards).
- All mistakes are reported at once, each with file and line (problems.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, WithJsonSchema

from jobs.errors import InputError
from jobs.references.stores import is_url, local_path
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir
from jobs.storage.submission import ResultForm
from launcher.config.conflicts import conflicts, too_few_cpus
from launcher.config.data_section import DataSection
from launcher.config.notification import Target
from launcher.config.origins import Origins, Problem, apply_overrides, dotted
from launcher.config.place import Place, expanded, profiles_for, read_written
from launcher.config.problems import check_mapping, shown
from launcher.config.profiles import put_below, read_profiles
from launcher.config.sections import (
    JobSection,
    LocalSection,
    NodeSection,
    OutputSection,
    RetrySection,
    SlurmSection,
)
from launcher.config.values import PathList, RunName
from launcher.config.variables import is_script
from launcher.config.yaml_lines import KeyPath
from launcher.executors import AUTO, EXECUTORS
from launcher.units import parse_memory


def _check_executor(value: Any) -> Any:
    valid = [AUTO, *EXECUTORS]
    if value not in valid:
        listed = ", ".join(map(repr, valid[:-1]))
        raise ValueError(f"must be {listed} or {valid[-1]!r}, not {shown(value)}")
    return value


_STAND_IN = {"name": "run", "job": {"class": "module:Class"}, "data": {"manifest": "samples.csv"}}


class Config(Place):
    """The whole config.yaml."""

    job: JobSection
    data: DataSection
    node: NodeSection = NodeSection()
    executor: Annotated[
        str, BeforeValidator(_check_executor), WithJsonSchema({"type": "string", "enum": [AUTO, *EXECUTORS]})
    ] = Field(default=AUTO, description="auto (Slurm where sbatch is found, else local), slurm, local")
    local: LocalSection = LocalSection()
    slurm: SlurmSection = SlurmSection()
    retry: RetrySection = RetrySection()
    output: OutputSection = OutputSection()
    after: PathList = Field(
        default=(), description="runs, by name or config, that have to be complete before this one begins"
    )
    sweep: RunName | None = Field(
        default=None,
        description="the sweep that the run is of, which --sweep says; status and list take it for all its runs",
    )
    notify: Target = Field(
        default=None,
        description="told when a run has ended: a command as a list of words, or a URL for a POST; null: nobody",
    )
    include: PathList = Field(
        default=(),
        description="configs that hold where this one says nothing, from this file's folder; of several the later counts",
    )
    _origins: Origins = PrivateAttr(default=Origins("config.yaml"))

    @property
    def origins(self) -> Origins:
        """Where its keys were written, for what is found to be wrong with them later on."""
        return self._origins

    @property
    def profiles(self) -> dict[str, str]:
        """What profiles say of it: dotted key -> file and line."""
        own = self.origins.set_texts
        return {dotted(path): place for path, place in self.origins.profiles.items() if path not in own}

    @property
    def own_options(self) -> dict[str, Any]:
        """The sbatch options that the config itself says."""
        paths = {name: ("slurm", name.replace("-", "_")) for name in self.slurm.options}
        return {name: self.slurm.options[name] for name, path in paths.items() if dotted(path) not in self.profiles}

    @property
    def job_spec(self) -> JobSpec:
        """The Job as array tasks get it."""
        import_from = tuple(str(self.resolve(folder)) for folder in self.job.import_from)
        return JobSpec(self.job.class_, self.job.params, str(self.folder), import_from)

    @property
    def output_path(self) -> Path | None:
        """The file of the result; with several manifests it has {manifest}. None: in the run directory, or in a store."""
        path = self.output.path
        return None if path is None or is_url(path) else self.resolve(local_path(path))

    @property
    def result_form(self) -> ResultForm:
        size, compression = self.output.max_file_size, self.output.compression
        store = self.output.path if self.output.path and is_url(self.output.path) else ""
        return ResultForm(
            None if size is None else parse_memory(size), compression or "", store, self.output.format or ""
        )

    @property
    def template_path(self) -> Path | None:
        """The site's own sbatch script; None where ``slurm.template`` names one of slurm_templates/."""
        template = self.slurm.template
        return self.resolve(template) if is_script(template) else None

    @property
    def processes(self) -> int:
        """Processes per array task, as far as the config alone tells: as set, or one per device asked for.

        Where there are as many as a node has room for, these at least.
        """
        if isinstance(self.node.processes, int):
            return self.node.processes
        if isinstance(self.node.devices, tuple):
            return len(self.node.devices)
        return 1 if self.node.devices == "cpu" else self.node.processes_for(self.slurm.gpus)

    def cpus_per_task(self, processes: int) -> int:
        """CPUs of an array task: processes x (max(workers, 1) + gpus_per_process), or ``slurm.cpus_per_task`` where larger.

        Raises InputError where ``slurm.cpus_per_task`` is smaller.
        """
        problem = too_few_cpus(self, processes)
        if problem:
            raise InputError(self.origins.report([(("slurm", "cpus_per_task"), problem)]))
        return max(processes * self.node.cpus_per_process, self.slurm.cpus_per_task or 0)

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON: all defaults, paths as written; ``config_from_mapping`` reads it back."""
        data = self.model_dump(mode="json", by_alias=True)
        options = data["slurm"].pop("options")
        data["slurm"].update({name.replace("-", "_"): value for name, value in options.items()})
        return data

    def deprecations(self) -> list[str]:
        """What goes on for now, or means something else now, and what to write instead, with file and line."""
        problems = self.origins.doubts
        if self.slurm.shards_per_task is not None:
            text = "goes with the next version; write slurm.tasks, how many array tasks there are, in its place"
            problems.append((("slurm", "shards_per_task"), text))
        return self.origins.report(problems).splitlines()


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Reads and checks a config; ``overrides`` are ``key.sub=value`` (of ``--set``), the value as in YAML.

    Raises InputError with all mistakes, one a line: ``config.yaml:14: node.worker: unknown key. ...``.
    """
    data, origins = read_written(path, overrides)
    merged, profiles = put_below(expanded(data, origins), profiles_for(path))
    return _checked(merged, path, replace(origins, profiles=profiles), conflicts)


def profile_config(overrides: Sequence[str] = ()) -> Config:
    """What profiles and ``--set`` alone give, with a stand-in for what is a run's own."""
    path = Path("config.yaml")
    own, set_texts = apply_overrides(_STAND_IN, overrides)
    data, profiles = put_below(own, read_profiles())
    return _checked(data, path, Origins(str(path), set_texts=set_texts, profiles=profiles), conflicts)


def default_config() -> Config:
    """All defaults, with the same stand-in."""
    return config_from_mapping(_STAND_IN, Path("config.yaml"))


def made_config(data: Mapping[str, Any], program: str) -> Config:
    """A config that a program makes, with an absolute ``folder``; its file is that of the run directory.

    Messages have ``program`` in the place of a file's name.
    """
    origins = Origins(program)
    merged, profiles = put_below(expanded(data, origins), read_profiles())
    config = _checked(merged, Path("config.yaml"), replace(origins, profiles=profiles), conflicts)
    config._path = RunDir(config.run_folder).config
    return config


def config_from_mapping(
    data: Mapping[str, Any],
    path: Path,
    set_texts: Mapping[KeyPath, str] | None = None,
    profiles: Mapping[str, str] | None = None,
) -> Config:
    """The config of ``to_mapping``; ``path`` is the file it first came from, ``profiles`` its own. Errors as in load_config."""
    known: dict[KeyPath, str] = {tuple(key.split(".")): origin for key, origin in (profiles or {}).items()}
    origins = Origins(str(path), set_texts=set_texts or {}, profiles=known)
    return _checked(expanded(data, origins, only=set_texts or {}), path, origins, lambda config: [])


def _checked(data: Mapping[str, Any], path: Path, origins: Origins, check: Callable[[Config], list[Problem]]) -> Config:
    config, problems = check_mapping(Config, data)
    if config is not None:
        config._path, config._origins = path, origins
        problems += check(config)
    if config is None or problems:
        raise InputError(origins.report(problems))
    return config
