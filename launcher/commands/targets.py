"""Targets: what run and submit are given: a config or a run each, in the order in which they come after each other."""

import graphlib
from collections.abc import Sequence
from pathlib import Path

from jobs.errors import InputError
from jobs.storage.plans import Plan
from launcher.commands.chosen_run import chosen_run
from launcher.config.config import load_config
from launcher.config.upstreams import upstream_paths


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
