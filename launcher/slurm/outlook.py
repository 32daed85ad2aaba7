"""Outlook: what is to be expected of a config's array tasks before they are submitted, as far as Slurm tells."""

from contextlib import suppress
from typing import TYPE_CHECKING

from jobs.errors import LauncherError
from jobs.storage.submission import Resources
from launcher.config.sbatch_options import gpus_asked
from launcher.slurm import scheduler
from launcher.slurm.asked_devices import device_remarks
from launcher.slurm.associations import Resources as Amounts
from launcher.slurm.associations import too_much
from launcher.slurm.capacity import misfits, nodes_of, tasks_at_once
from launcher.slurm.ceilings import ceilings_for
from launcher.slurm.dry_run import finalize_way
from launcher.slurm.limits import limits_for, nodes
from launcher.slurm.parsers import amount
from launcher.slurm.scripts import Options, finalize_options
from launcher.slurm.task_size import task_size
from launcher.slurm.template import shown_options
from launcher.slurm.time_limit import given_time, told
from launcher.slurm.whole_nodes import are_asked, idle
from launcher.units import format_time, parse_memory, parse_time, short_size

if TYPE_CHECKING:
    from launcher.config.config import Config


def room(config: "Config", asked: Options) -> int:
    """How many of the config's array tasks the cluster runs at once, by its nodes and limits; 0 where that is not known."""
    size = task_size(config, asked)
    whole_nodes = are_asked(asked)
    at_once = (
        tasks_at_once(own, asked.get("partition"), size.cpus, size.gpus, whole_nodes=whole_nodes)
        for own in nodes(asked)
    )
    known = [number for number in (max(at_once) // config.slurm.nodes_per_task, run_at_once(config, asked)) if number]
    return min(known, default=0)


def run_at_once(config: "Config", asked: Options) -> int | None:
    """How many of them the limits of the account and its QOS let run at once; None where there are none."""
    wanted, seconds = _task(config, asked), _seconds(asked)
    found = [bounds.at_once(wanted, seconds) for bounds in limits_for(asked).bounds]
    # Of several clusters one may allow more.
    return max((number for number in found if number is not None), default=None) if None not in found else None


def describe(config: "Config", asked: Options, resources: Resources) -> list[str]:
    """In words: what an array task is and asks for, what follows at the end, what may be submitted."""
    lines = [
        f"array task: {task_size(config, asked)}; asked: {shown_options(asked)}",
        f"at the end: {_finalizer(config, resources)}",
    ]
    if scheduler.is_here():
        limits = limits_for(asked)
        most = "no known limit of" if limits.submit_jobs is None else f"{limits.submit_jobs}"
        arrays = f"arrays of at most {limits.array_size} elements" if limits.has_arrays else "no job arrays"
        run = (
            ""
            if (number := run_at_once(config, asked)) is None
            else f", {number} such array tasks run at a time at most"
        )
        lines.append(f"limits: {arrays} (MaxArraySize), {most} jobs of yours at a time{run}")
    return lines


def _finalizer(config: "Config", resources: Resources) -> str:
    """What tries again and writes the result, in words."""
    if resources.attended:
        return "`launcher run` on this machine tries again what failed, and writes the result (slurm.finalize: none)"
    options, problem = finalize_options(config, resources), ""
    if scheduler.is_here():
        with suppress(LauncherError):  # Slurm may be silent just now
            options, problem = finalize_way(config, resources)
    refused = f"; sbatch refuses it: {problem}" if problem else ""
    asked = f"asked: {shown_options(options)} (slurm.finalize){refused}"
    return f"a finalize job tries again what failed, and writes the result; {asked}"


def remarks(config: "Config", asked: Options, resources: Resources) -> list[str]:
    """What keeps it from starting, or from having its devices; what time it has where it asks for none, what it leaves idle."""
    known, partitions = [group for own in nodes(asked) for group in own], asked.get("partition")
    there = [group for group in nodes_of(known, partitions) if group.is_usable]
    whole = [group for group in there if group.whole or are_asked(asked)]
    size = task_size(config, asked)
    said = idle(config, size, whole, amount(parse_memory, asked.get("mem")))
    problems = _hopeless("an array task", _task(config, asked), asked)
    if not resources.attended:
        last = finalize_options(config, resources)
        problems += _hopeless("the finalize job", _finalize_job(last), last)
    problems += [*misfits(known, partitions, size.cpus), *device_remarks(config, size.gpus, there)]
    return [*problems, *over(asked), *told(given_time(asked)), *([said] if said else [])]


def over(asked: Options) -> list[str]:
    """What no job of the partition gets, where sbatch takes it all the same (EnforcePartLimits=NO). A QOS may allow more."""
    if asked.get("clusters"):  # of several one may do
        return []
    most = ceilings_for(asked)
    seconds, memory = amount(parse_time, asked.get("time")), amount(parse_memory, asked.get("mem"))
    found = []
    if seconds and most.time and seconds > most.time:
        found.append(f"--time={format_time(seconds)}, and partition {most.partition} gives {format_time(most.time)}")
    if memory and most.memory and memory > most.memory:
        found.append(f"--mem={asked['mem']}, and the largest node of {most.partition} has {short_size(most.memory)}")
    return [f"an array task may never start: it asks for {text}" for text in found]


def _seconds(asked: Options) -> int | None:
    """The time limit that it is to have."""
    return amount(parse_time, asked.get("time")) or given_time(asked)


def _hopeless(who: str, wanted: Amounts, asked: Options) -> list[str]:
    """What keeps Slurm from ever starting such a job, where sbatch does not refuse it."""
    seconds = _seconds(asked)
    # Of several clusters one may do.
    found = min((too_much(wanted, seconds, bounds) for bounds in limits_for(asked).bounds), key=len, default=[])
    return [
        f"{who} would wait for ever: it asks for {text} (see sacctmgr show assoc, sacctmgr show qos)" for text in found
    ]


def _finalize_job(asked: Options) -> Amounts:
    """What the finalize job asks for."""
    cpus, memory = amount(int, asked.get("cpus-per-task")) or 1, amount(parse_memory, asked.get("mem")) or 0
    return {"cpu": cpus, "mem": memory, "node": 1, "gres/gpu": gpus_asked(asked, 1)}


def _task(config: "Config", asked: Options) -> Amounts:
    """What an array task asks for, on all of its nodes."""
    size, count = task_size(config, asked), config.slurm.nodes_per_task
    per = {"mem": count, "mem-per-cpu": size.cpus * count, "mem-per-gpu": size.gpus * count}
    memory = max((amount(parse_memory, asked.get(name)) or 0) * times for name, times in per.items())
    return {"cpu": size.cpus * count, "mem": memory, "node": count, "gres/gpu": size.gpus * count}
