"""Targets: what plan, run and submit are given: a config or a run each, in the order in which they come after each other.

A config with ``--sweep`` is as many targets as it makes runs, and the name of a sweep stands for its runs.
"""

import argparse
import graphlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import InputError
from jobs.storage.files import is_file
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.commands.chosen_run import chosen_run, runs_of_sweep
from launcher.commands.printer import Printer
from launcher.config import ENDINGS
from launcher.config.config import Config, load_config
from launcher.config.place import run_folder_of
from launcher.config.sweeps import variants
from launcher.config.upstreams import upstream_paths
from launcher.executors import choose_executor
from launcher.runs.index import note
from launcher.submit.start import go_on

# What imports numpy or pyarrow is imported in the functions below, so that a scheduler is asked for its limits before.
if TYPE_CHECKING:
    from launcher.plan.guard import Way
    from launcher.plan.plan import Planned


def names_config(text: str) -> bool:
    """Whether it is a config, if one that is not there, not a run."""
    return Path(text).is_file() or text.endswith(ENDINGS)


@dataclass(frozen=True)
class Target:
    """A config, or a run, with what ``--set`` puts over its values; ``name`` is what users call it.

    ``values`` are those that a sweep gives it.
    """

    text: str
    overrides: tuple[str, ...]
    name: str
    is_swept: bool = False
    values: tuple[str, ...] = ()

    @property
    def known_run(self) -> RunDir | None:
        """Its run, where there is one already."""
        with suppress(InputError):  # told where the config is read, or the run is looked for
            if not self.overrides or not names_config(self.text):
                return chosen_run(self.text)
            run = RunDir(run_folder_of(Path(self.text), self.overrides))
            return run if is_file(run.plan) else None
        return None


def targets_of(options: argparse.Namespace) -> list[Target]:
    """Those of a command, each after those that it comes after. Raises InputError for a circle, and for a run given twice."""
    if options.sweep:
        return swept(options.targets, options.set, options.sweep)
    return _in_order([target for text in options.targets for target in _meant(text, tuple(options.set))])


def swept(texts: Sequence[str], overrides: Sequence[str], sweeps: Sequence[str]) -> list[Target]:
    """A config for each of the combinations of values."""
    if len(texts) > 1 or not names_config(texts[0]):
        raise InputError("--sweep makes runs of one config: give that")
    base = run_folder_of(Path(texts[0]), overrides)
    found = variants(base.name, sweeps)
    targets = [
        Target(texts[0], (*overrides, *one.overrides), one.name, is_swept=True, values=one.values) for one in found
    ]
    configs = [load_config(Path(target.text), target.overrides) for target in targets]
    if configs[0].output.path and len({(one.output_path, one.result_form.store) for one in configs}) < len(configs):
        raise InputError(
            f"{texts[0]}: the runs of a sweep have a result each, and output.path is one place: leave it out"
        )
    _check_jobs(configs)
    return targets


def _check_jobs(configs: Sequence[Config]) -> None:
    """A value that a Job refuses is told before any run of the sweep is planned."""
    from launcher.plan.config_check import job_problems

    for config in configs:
        _, problems = job_problems(config.job_spec, config.node.workers)
        if problems:
            raise InputError(config.origins.report(problems))


def _meant(text: str, overrides: tuple[str, ...]) -> list[Target]:
    """That of the text itself, or those of the sweep of that name."""
    runs = [] if names_config(text) else runs_of_sweep(text)
    return [Target(str(run.path), overrides, run.name, is_swept=True) for run in runs] or [
        Target(text, overrides, text)
    ]


def _in_order(targets: Sequence[Target]) -> list[Target]:
    if len(targets) == 1:
        return list(targets)
    by_run: dict[Path, Target] = {}
    before: dict[Path, Sequence[Path]] = {}
    for target in targets:
        run, before_it = _run_and_those_before(target)
        if run in by_run:
            raise InputError(f"{by_run[run].name} and {target.name} are of the same run, {run}: give each run once")
        by_run[run], before[run] = target, before_it
    graph = {run: [other for other in others if other in by_run] for run, others in before.items()}
    try:
        return [by_run[run] for run in graphlib.TopologicalSorter(graph).static_order()]
    except graphlib.CycleError as error:
        names = " after ".join(by_run[run].name for run in reversed(error.args[1]))
        raise InputError(f"these runs come after each other in a circle: {names}") from None


def _run_and_those_before(target: Target) -> tuple[Path, Sequence[Path]]:
    if names_config(target.text):
        config = load_config(Path(target.text), target.overrides)
        return config.run_folder, upstream_paths(config)
    run = chosen_run(target.text)
    return run.path.absolute(), [Path(path) for path in Plan.read(run.plan).after]


def planned_target(target: Target, options: argparse.Namespace, printer: Printer) -> "tuple[Planned, Config]":
    """What a config plans, or a run as it was planned, and the settings with which it goes on."""
    if names_config(target.text):
        config = load_target(target, printer)
        choose_executor(config.executor).prepare(config)
        from launcher.plan.plan import make_plan

        planned = make_plan(config, way_of(options))
        note(planned.run)
        return planned, config
    planned, config = go_on(chosen_run(target.text), way_of(options), target.overrides)  # with the settings it had
    told_of_deprecations(config, printer)
    return planned, config


def load_target(target: Target, printer: Printer) -> Config:
    """A config that its executor can run."""
    config = load_config(Path(target.text), target.overrides)
    told_of_deprecations(config, printer)
    choose_executor(config.executor).check(config)
    return config


def told_of_deprecations(config: Config, printer: Printer) -> None:
    if deprecations := config.deprecations():
        printer.warn(*deprecations)


def way_of(options: argparse.Namespace) -> "Way":
    from launcher.plan.guard import Way

    return Way.of(keep_results=options.keep_results, fresh=options.fresh)
