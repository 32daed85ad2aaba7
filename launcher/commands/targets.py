"""Targets: what run and submit are given: a config or a run each, in the order in which they come after each other."""

import argparse
import graphlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import InputError
from jobs.storage.plans import Plan
from launcher.commands.chosen_run import chosen_run
from launcher.commands.printer import Printer
from launcher.config.config import Config, load_config
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
    path = Path(text)
    return path.is_file() or path.suffix in (".yaml", ".yml")


def in_order(targets: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Each after those that it comes after. Raises InputError for a circle, and for a run that is given twice."""
    if len(targets) == 1:
        return list(targets)
    by_run: dict[Path, str] = {}
    before: dict[Path, Sequence[Path]] = {}
    for target in targets:
        run, before_it = _run_and_those_before(target, overrides)
        if run in by_run:
            raise InputError(f"{by_run[run]} and {target} are of the same run, {run}: give each run once")
        by_run[run], before[run] = target, before_it
    graph = {run: [other for other in others if other in by_run] for run, others in before.items()}
    try:
        return [by_run[run] for run in graphlib.TopologicalSorter(graph).static_order()]
    except graphlib.CycleError as error:
        names = " after ".join(by_run[run] for run in reversed(error.args[1]))
        raise InputError(f"these runs come after each other in a circle: {names}") from None


def _run_and_those_before(target: str, overrides: Sequence[str]) -> tuple[Path, Sequence[Path]]:
    if names_config(target):
        config = load_config(Path(target), overrides)
        return config.run_folder, upstream_paths(config)
    run = chosen_run(target)
    return run.path.absolute(), [Path(path) for path in Plan.read(run.plan).after]


def planned_target(target: str, options: argparse.Namespace, printer: Printer) -> "tuple[Planned, Config]":
    """What a config plans, or a run as it was planned, and the settings with which it goes on."""
    if names_config(target):
        config = load_target(target, options.set, printer)
        choose_executor(config.executor).prepare(config)
        from launcher.plan.plan import make_plan

        planned = make_plan(config, way_of(options))
        note(planned.run)
        return planned, config
    planned, config = go_on(chosen_run(target), way_of(options), options.set)  # with the settings it had
    told_of_deprecations(config, printer)
    return planned, config


def load_target(path: str, overrides: Sequence[str], printer: Printer) -> Config:
    """A config that its executor can run."""
    config = load_config(Path(path), overrides)
    told_of_deprecations(config, printer)
    choose_executor(config.executor).check(config)
    return config


def told_of_deprecations(config: Config, printer: Printer) -> None:
    if deprecations := config.deprecations():
        printer.warn(*deprecations)


def way_of(options: argparse.Namespace) -> "Way":
    from launcher.plan.guard import Way

    return Way.of(keep_results=options.keep_results, fresh=options.fresh)
