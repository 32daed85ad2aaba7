"""probe."""

import argparse
import math
import shlex
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.errors import InputError
from jobs.storage.files import exists
from jobs.storage.rundir import RunDir
from launcher.commands.printer import Printer
from launcher.config.config import Config, load_config
from launcher.executors import AUTO, EXECUTORS, choose_executor
from launcher.interrupts import Interrupts
from launcher.probe.advice import Advice, advise
from launcher.probe.machine import Machine, find_machine
from launcher.probe.measurement import Measurement
from launcher.probe.sizes import Scope
from launcher.units import clock_time, counted, decimal_size

_WIDTH = 120
_LEAST_SECONDS = 5.0


def probe(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.probe.folder import throw_away_run
    from launcher.probe.session import probe as measure_settings

    if not math.isfinite(options.seconds) or options.seconds < _LEAST_SECONDS:
        raise InputError(f"--seconds {options.seconds:g}: must be a number from {_LEAST_SECONDS:g}")
    path = Path(options.config)
    config = load_config(path, options.set)
    machine = find_machine(config)
    with Interrupts():
        with throw_away_run(config) as planned:
            printer.say(f"on {machine.describe()}, {options.seconds:g} s at most; nothing is submitted")
            if choose_executor(config.executor).has_limits:
                printer.say(
                    "what is measured holds for nodes like this one: try it on one of those that will do the work (srun --pty)"
                )
            found = measure_settings(config, planned, machine, options.seconds, printer.say)
        scope = _scope(config, found.plan.rows, found.chosen, machine, printer)
        advice = advise(config, found.chosen, found.measured, scope)
    notes = [*found.notes, *_planned_already(config, advice), *_taken_by_auto(config, scope)]
    printer.say("", *_lines(advice, scope), *(f"note: {note}" for note in notes))
    written = options.write and not found.interrupted
    if written:
        from launcher.probe.config_writer import write_config

        write_config(path, config, advice.recommendations)
        printer.say(f"written: {path}", f"next: launcher plan {shlex.quote(str(path))}")
    else:
        printer.say(
            "interrupted: this is what was known by then" if found.interrupted else "to put it into the config: --write"
        )
    printer.document(
        config=str(path),
        machine={**asdict(machine), "gpus": machine.gpus},
        interrupted=found.interrupted,
        measurements=[one.to_json() for one in found.measured],
        chosen=asdict(found.chosen.settings),
        **advice.to_json(),
        notes=notes,
        written=str(path) if written else None,
    )
    if found.interrupted:
        raise SystemExit(130)  # all is said, in one document
    return True


def _scope(config: Config, rows: int, chosen: Measurement, machine: Machine, printer: Printer) -> Scope:
    """What limits the sizes: this machine, or a scheduler as it answers."""
    executor = choose_executor(config.executor)
    room = max(1, len(machine.cpus) // chosen.cpus) if not machine.gpus else 1
    limits = executor.limits(config, room)
    if limits.unknown:
        printer.say(limits.unknown)
    return Scope(
        rows=rows,
        batches=math.ceil(rows / chosen.settings.batch_size),
        parts=max(len(config.data.manifests), 1),
        local_tasks=limits.at_a_time,
        memory=machine.memory_of_all,
        largest_array=limits.largest_array,
        largest_queue=limits.largest_queue,
        scheduler=executor.title,
    )


def _planned_already(config: Config, advice: Advice) -> list[str]:
    """Shards and batch size are fixed once a run is planned."""
    changed = [
        r.name for r in advice.recommendations if r.value != r.was and r.name.startswith(("data.", "node.batch"))
    ]
    if not changed or not exists(RunDir(config.run_folder).plan):
        return []
    return [
        f"the run {config.run_folder} is planned already, and {' and '.join(changed)} cannot change in it: give the next "
        f"one another name"
    ]


def _taken_by_auto(config: Config, scope: Scope) -> list[str]:
    """A node may lack the commands of the scheduler that is to run it."""
    if config.executor != AUTO or scope.local_tasks is None:
        return []
    others = " or ".join(f"--set executor={name}" for name, entry in EXECUTORS.items() if entry.command)
    return [f"executor: {AUTO} is this machine here; for a run elsewhere, its memory, time and array tasks: {others}"]


def _lines(advice: Advice, scope: Scope) -> list[str]:
    expected, lines = advice.expected, []
    names = max(len(one.name) for one in advice.recommendations)
    values = max(len(_text(one.value)) for one in advice.recommendations)
    for one in advice.recommendations:
        head = f"  {one.name:<{names}}  {_text(one.value):<{values}}  "
        was = "" if one.value == one.was else f"was {_text(one.was)}; "
        lines += textwrap.wrap(was + one.reason, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
    queue = " (waiting in a queue not counted)" if scope.local_tasks is None else ""
    gpus = f", {expected.gpu_hours:,.2f} GPU hours" if expected.gpu_hours else ""
    return [
        "recommended:",
        *lines,
        f"expected for {expected.samples:,} samples: {clock_time(expected.wall_seconds)} in "
        f"{counted(expected.tasks, 'array task')}{queue}, {expected.cpu_hours:,.2f} CPU hours{gpus}, "
        f"{decimal_size(expected.output_bytes)} of output",
    ]


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
