"""Conflicts: what is wrong between fields of a config that are right each by itself, and files that are not there."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from launcher.config.origins import Problem
from launcher.units import counted, parse_memory, parse_time

if TYPE_CHECKING:
    from launcher.config.config import Config


def conflicts(config: "Config") -> list[Problem]:
    """All of them, each with the key that is to be changed."""
    options, template = config.slurm.options, config.template_path
    found = [
        (
            ("include",),
            "is for the file of a config to say, so that paths have a beginning" if config.include else None,
        ),
        (("slurm", "shards_per_task"), _tasks_twice(config)),
        (("slurm", "cpus_per_task"), too_few_cpus(config, config.processes)),
        (("node", "gpus_per_process"), _without_gpus(config)),
        (("slurm", "warning"), _too_late(config)),
        (("output", "path"), _wrong_output(config)),
        (("output", "format"), _wrong_format(config)),
        (("retry", "max_memory"), _below(config.retry.max_memory, options, "mem", parse_memory)),
        (("retry", "max_time"), _below(config.retry.max_time, options, "time", parse_time)),
        (("slurm", "template"), f"no such file: {template}" if template and not template.is_file() else None),
    ]
    return [(path, message) for path, message in found if message]


def _tasks_twice(config: "Config") -> str | None:
    if config.slurm.tasks is None or config.slurm.shards_per_task is None:
        return None
    return "says the same as slurm.tasks: keep that one, and leave this one out"


def _without_gpus(config: "Config") -> str | None:
    devices = config.node.devices
    if config.node.gpus_per_process is None or devices in ("auto", "cuda"):
        return None
    said = devices if isinstance(devices, str) else f"[{', '.join(devices)}]"
    return f"shares out all GPUs of an array task, and node.devices is {said}: that must be auto or cuda, or leave this one out"


def _too_late(config: "Config") -> str | None:
    warning, grace = config.slurm.warning, config.slurm.grace
    if warning is None or warning >= grace:
        return None
    return f"{warning} s are too few for a task that may take {grace} s to leave (slurm.grace): raise it, or lower that"


def _wrong_output(config: "Config") -> str | None:
    """Several results need several paths, and one needs one."""
    path, several = config.output.path, bool(config.data.manifests)
    if path is None or several == ("{manifest}" in path):
        return None
    if several:
        return f"{path} is one file, and each manifest has a result: put {{manifest}} into it, as in x-{{manifest}}.h5"
    return "{manifest} stands for the name of one of several manifests; this config has one, without a name"


def _wrong_format(config: "Config") -> str | None:
    output = config.output
    if output.format is None:
        return None
    if not config.result_form.store:
        return "is for a result in a store: set output.path to a URL, or leave this out and use `launcher export`"
    if not output.gather:
        return "is for a result that is written: leave output.gather true"
    if output.compression:
        return f"has a compression of its own: leave out output.compression ({output.compression}), which is HDF5's"
    return None


def too_few_cpus(config: "Config", processes: int) -> str | None:
    each, asked = config.node.cpus_per_process, config.slurm.cpus_per_task
    if asked is None or asked >= processes * each:
        return None
    gpus = f" and {counted(config.node.gpus_per_process, 'GPU')}" if config.node.gpus_per_process else ""
    size = f"{counted(processes, 'process', 'processes')} x {counted(max(config.node.workers, 1), 'worker')}{gpus}"
    ways = "raise it, leave it out, or lower node.processes or node.workers"
    return f"{asked} is too few: {size} need {processes * each}; {ways}"


def _below(limit: str | None, options: Mapping[str, Any], name: str, parse: Callable[[str], int]) -> str | None:
    asked = options.get(name)
    if limit is None or asked is None or parse(limit) >= parse(asked):
        return None
    return f"{limit} is less than slurm.{name} ({asked}); raise it or leave it out"
