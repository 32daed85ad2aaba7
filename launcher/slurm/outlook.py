"""Outlook: what is to be expected of a config's array tasks before they are submitted, as far as Slurm tells."""

from typing import TYPE_CHECKING

from jobs.storage.submission import Resources
from launcher.slurm import scheduler
from launcher.slurm.associations import too_much
from launcher.slurm.capacity import nodes_of, tasks_at_once
from launcher.slurm.limits import SlurmLimits, limits_for, nodes
from launcher.slurm.parsers import amount
from launcher.slurm.scripts import Options, finalize_options
from launcher.slurm.task_size import task_size
from launcher.slurm.time_limit import given_time, told
from launcher.slurm.whole_nodes import are_asked, idle
from launcher.units import parse_memory, parse_time

if TYPE_CHECKING:
    from launcher.config.config import Config


def room(config: "Config", asked: Options) -> int:
    """How many of the config's array tasks the cluster can run at once; 0 where that is not known."""
    size = task_size(config, asked)
    whole_nodes = are_asked(asked)
    at_once = (
        tasks_at_once(own, asked.get("partition"), size.cpus, size.gpus, whole_nodes=whole_nodes)
        for own in nodes(asked)
    )
    return max(at_once) // config.slurm.nodes_per_task


def describe(config: "Config", asked: Options, resources: Resources) -> list[str]:
    """In words: what an array task is and asks for, what follows at the end, what may be submitted."""
    lines = [
        f"array task: {task_size(config, asked)}; asked: {_words(asked)}",
        f"at the end: {_finalizer(config, resources)}",
    ]
    if scheduler.is_here():
        limits = limits_for(asked)
        jobs = "no limit known" if limits.submit_jobs is None else f"{limits.submit_jobs} jobs of yours at a time"
        arrays = f"arrays of at most {limits.array_size} elements" if limits.has_arrays else "no job arrays"
        lines.append(f"limits: {arrays} (MaxArraySize), {jobs}")
    return lines


def _finalizer(config: "Config", resources: Resources) -> str:
    """What tries again and writes the result, in words."""
    if resources.attended:
        return "`launcher run` on this machine tries again what failed, and writes the result (slurm.finalize: none)"
    asked = _words(finalize_options(config, resources))
    return f"a finalize job tries again what failed, and writes the result; asked: {asked} (slurm.finalize)"


def _words(asked: Options) -> str:
    return ", ".join(name if value is None else f"{name}={value}" for name, value in sorted(asked.items()))


def remarks(config: "Config", asked: Options) -> list[str]:
    """What keeps it from ever starting; what time it has where it asks for none, and what it leaves idle of its nodes."""
    there = [group for own in nodes(asked) for group in nodes_of(own, asked.get("partition"))]
    whole = [group for group in there if group.whole or are_asked(asked)]
    said = idle(config, task_size(config, asked), whole, amount(parse_memory, asked.get("mem")))
    problems = _hopeless(config, asked, limits_for(asked))
    return [*problems, *told(given_time(asked)), *([said] if said else [])]


def _hopeless(config: "Config", asked: Options, limits: SlurmLimits) -> list[str]:
    """What keeps Slurm from ever starting an array task, where sbatch does not refuse it."""
    size, count = task_size(config, asked), config.slurm.nodes_per_task
    per = {"mem": count, "mem-per-cpu": size.cpus * count, "mem-per-gpu": size.gpus * count}
    memory = max((amount(parse_memory, asked.get(name)) or 0) * times for name, times in per.items())
    wanted = {"cpu": size.cpus * count, "mem": memory, "node": count, "gres/gpu": size.gpus * count}
    seconds = amount(parse_time, asked.get("time"))
    # Of several clusters one may do.
    found = min((too_much(wanted, seconds, bounds) for bounds in limits.bounds), key=len, default=[])
    return [
        f"an array task would wait for ever: it asks for {text} (see sacctmgr show assoc, sacctmgr show qos)"
        for text in found
    ]
