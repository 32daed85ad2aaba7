"""plan, submit, run, rerun."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import InputError
from jobs.kinds import RunState
from jobs.storage.plans import Plan
from jobs.storage.spans import union
from launcher.commands.chosen_run import chosen_run
from launcher.commands.printer import Printer
from launcher.config.config import Config, load_config
from launcher.executors import choose_executor
from launcher.runs.find import find_run, reference
from launcher.status.progress import make_view, status_lines
from launcher.units import counted

# What imports numpy or pyarrow is imported in the functions below, so that a scheduler is asked for its limits before.
if TYPE_CHECKING:
    from launcher.plan.guard import Way
    from launcher.plan.plan import Planned
    from launcher.submit.submit import Selection


def plan(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.plan.plan import make_plan
    from launcher.submit.submit import write_planned

    config = _checked(load_config(Path(options.config), options.set), printer)
    planned = make_plan(config, _way(options))
    run, sizes = planned.run, [shard.rows for shard in planned.plan.shards()]
    manifests = [(part.name, part.rows, planned.plan.shards_of(part).count) for part in planned.plan.parts]
    executor = choose_executor(config.executor)
    resources = executor.describe(config)
    scripts = write_planned(run, config, planned.plan)
    if options.script and not options.json:  # before the check: whoever looks at it may do so because it is refused
        for path in scripts:
            print(path.read_text(), flush=True)
    checked = executor.scripts.check(scripts[0]) if executor.scripts and scripts else None
    printer.say(
        *planned.notes,
        f"{_planned(planned)}: {run.path.absolute()}",
        f"samples: {planned.plan.rows:,} in {_sizes(sizes)}",
        *(f"  {name}: {rows:,} in {counted(shards, 'shard')}" for name, rows, shards in manifests),
        f"executor: {executor.name}",
        *_profile_lines(config),
        *resources,
        *(f"script: {path}" for path in scripts),
        *([checked] if checked else []),
        f"next: launcher submit {reference(run)}, or launcher run {options.config}",
    )
    printer.document(
        run=str(run.path),
        is_new=planned.is_new,
        fingerprint=planned.plan.fingerprint,
        samples=planned.plan.rows,
        shards={"total": len(sizes), "min_samples": min(sizes), "max_samples": max(sizes)},
        **({"manifests": [{"name": n, "samples": rows, "shards": s} for n, rows, s in manifests]} if manifests else {}),
        executor=executor.name,
        profiles=config.profiles,
        resources=resources,
        scripts=[{"path": str(path), "text": path.read_text()} for path in scripts],
    )
    return True


def _profile_lines(config: Config) -> list[str]:
    """Each profile with the keys that it sets."""
    keys: dict[str, list[str]] = {}
    for key, place in config.profiles.items():
        keys.setdefault(place.rpartition(":")[0], []).append(key)
    return [f"profile: {file}: {', '.join(own)}" for file, own in keys.items()]


def _planned(planned: "Planned") -> str:
    if planned.is_new:
        return "planned"
    return "already planned" if planned.notes else "already planned, nothing changed"


def _sizes(sizes: Sequence[int]) -> str:
    """``4 shards of 25``, ``4 shards of 24 to 26``; of one, its size was told."""
    least, most = min(sizes), max(sizes)
    each = f" of {least:,}" + (f" to {most:,}" if most > least else "") if len(sizes) > 1 else ""
    return f"{counted(len(sizes), 'shard')}{each}"


def run(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.plan.plan import make_plan
    from launcher.submit.follow import run_to_end

    config = _checked(load_config(Path(options.config), options.set), printer)
    planned = make_plan(config, _way(options))
    printer.say(*planned.notes, f"run directory: {planned.run.path.absolute()}")
    status = run_to_end(planned, config, make_view(printer.stream), printer.say)
    printer.say(*status_lines(status))
    printer.document(**status.to_json())
    return status.state is RunState.COMPLETE


def _checked(config: Config, printer: Printer) -> Config:
    """A config that its executor can run."""
    if notices := config.notices():
        printer.warn(*notices)
    choose_executor(config.executor).check(config)
    return config


def _way(options: argparse.Namespace) -> "Way":
    from launcher.plan.guard import Way

    return Way.KEEP if options.keep_results else Way.FRESH if options.fresh else Way.REFUSE


def submit(options: argparse.Namespace, printer: Printer) -> bool:
    path = Path(options.target)
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        config = _checked(load_config(path, options.set), printer)
        choose_executor(config.executor).prepare(config)
        from launcher.plan.plan import make_plan

        planned = make_plan(config, _way(options))
    else:  # a run goes on with the settings it had
        from launcher.plan.plan import go_on
        from launcher.submit.submit import current_config

        run = find_run(options.target)
        known = Plan.read(run.plan)
        config = _checked(current_config(run, known, options.set), printer)
        choose_executor(config.executor).prepare(config)
        planned = go_on(run, known, config, _way(options))
    from launcher.submit.submit import select_rows

    return _start(planned, config, select_rows(planned.run, planned.plan), printer)


def rerun(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.plan.plan import go_on
    from launcher.plan.sharding import parse_ranges
    from launcher.submit.submit import current_config, select_rows

    run = chosen_run(options.run)
    known = Plan.read(run.plan)
    config = current_config(run, known, options.set)
    if limits := choose_executor(config.executor).limit_overrides(options.mem, options.time):
        config = current_config(run, known, [*options.set, *limits])
    _checked(config, printer)
    choose_executor(config.executor).prepare(config)
    if options.tasks is not None and options.tasks < 1:
        raise InputError(f"--tasks {options.tasks}: must be 1 or more")
    planned = go_on(run, known, config, _way(options))
    asked = None
    if options.shards and options.fresh:  # as advice may have it, whose shards are those of before
        printer.say(f"with --fresh all shards are computed, not --shards {options.shards} alone")
    elif options.shards is not None:
        asked = parse_ranges(options.shards, planned.plan.shard_count)
    selection = select_rows(run, planned.plan, asked)
    if asked and selection.running:
        printer.say(f"left out, since they run now: shards {selection.running.brief()}")
    if asked and selection.kept:
        printer.say(f"left out, since they are done and nothing in them failed: shards {selection.kept.brief()}")
    return _start(planned, config, selection, printer, tasks=options.tasks)


def _start(
    planned: "Planned", config: Config, selection: "Selection", printer: Printer, *, tasks: int | None = None
) -> bool:
    from launcher.submit.submit import nothing_to_do
    from launcher.submit.submit import submit as start_submission

    run, table = planned.run, planned.plan.table
    if planned.notes:
        printer.say(*planned.notes)
    if not selection.rows and not selection.running:
        printer.say(nothing_to_do(run, selection))
        printer.document(run=str(run.path), submission=None, shards=[])
        return True
    submissions = start_submission(run, config, selection, tasks=tasks)
    executor = choose_executor(submissions[0].executor)
    shards = {made.number: table.shards_in(made.work(table)) for made in submissions}
    printer.say(
        f"run directory: {run.path.absolute()}",
        *(
            f"submission {made.number}: {counted(shards[made.number].count, 'shard')}, {executor.place(made)}"
            for made in submissions
        ),
        f"follow: launcher status {reference(run)} --watch",
    )
    first = submissions[0]
    printer.document(
        run=str(run.path),
        submission=first.number,
        executor=first.executor,
        job_ids=[job_id for made in submissions for job_id in made.job_ids],
        finalize_id=first.finalize_id,
        process=first.process,
        shards=list(union(shards.values()).numbers),
        submissions=[{"number": made.number, "job_ids": list(made.job_ids)} for made in submissions],
    )
    return True
