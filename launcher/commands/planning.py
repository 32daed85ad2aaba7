"""plan: checks everything, writes the run directory, and tells what a submission would be."""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import LauncherError
from jobs.storage.files import is_file
from jobs.storage.rundir import RunDir
from jobs.storage.upstreams import Upstream
from launcher.commands.printer import Printer
from launcher.commands.targets import Target, load_target, swept, way_of
from launcher.config.config import Config
from launcher.executors import Executor, choose_executor
from launcher.runs.find import reference
from launcher.runs.index import note
from launcher.units import counted

# What imports numpy or pyarrow is imported in the functions below, so that a scheduler is asked for its limits before.
if TYPE_CHECKING:
    from launcher.documents.starts import PlanDocument
    from launcher.plan.plan import Planned


def plan(options: argparse.Namespace, printer: Printer) -> bool:
    """Of a sweep, what was told of one of its runs is not told again of the next."""
    if not options.sweep:
        lines, document = _plan(Target(options.config, tuple(options.set), options.config), options, printer)
        printer.say(*lines)
        printer.document(**document)
        return True
    targets, told = swept([options.config], options.set, options.sweep), dict[str, None]()
    documents: list[PlanDocument] = []
    for target in targets:
        lines, document = _plan(target, options, printer)
        printer.say(f"{target.name}: {', '.join(target.values)}")
        printer.say(*(line for line in lines if line not in told and line != lines[-1]))
        told.update(dict.fromkeys(lines))
        documents.append({**document, "values": list(target.values)})
    name = str(documents[0]["sweep"])
    printer.say(_next_of_sweep(RunDir(Path(documents[0]["run"]).with_name(name)), len(targets)))
    printer.document(sweep=name, runs=documents)
    return True


def _plan(target: Target, options: argparse.Namespace, printer: Printer) -> "tuple[list[str], PlanDocument]":
    """Plans one run; what is to be said of it, and its document."""
    from launcher.notify.dispatch import doubts
    from launcher.plan.plan import make_plan
    from launcher.submit.submit import write_planned

    config = load_target(target, printer)
    executor, resources = choose_executor(config.executor), list[str]()
    # Before anything is written: a scheduler's commands may be here, and no cluster.
    planned = make_plan(config, way_of(options), lambda: resources.extend(executor.describe(config)))
    note(planned.run)
    settings = [] if planned.is_new else _other_settings(planned, config)  # before the newest ones are written
    remarks = [*executor.remarks(config), *doubts(config.notify, planned.run.path)]
    # A template's comments may be in any encoding.
    scripts = {
        path: path.read_bytes().decode(errors="surrogateescape")
        for path in write_planned(planned.run, config, planned.plan)
    }
    if options.script and not options.json:  # before the check: whoever looks at it may do so because it is refused
        for text in scripts.values():
            print(text, flush=True)
    opinion = _opinion(executor, next(iter(scripts), None), remarks)
    found = _Found(planned, config, executor.name, resources, remarks, scripts)
    state, following = _planned(planned, settings), _next(planned, target if settings else None)
    return found.lines(state, *([opinion] if opinion else []), following), found.document()


def _opinion(executor: Executor, script: Path | None, remarks: Sequence[str]) -> str | None:
    """What the scheduler says of a script; where it refuses it, the remarks are told too: one of them may be why."""
    try:
        return executor.scripts.check(script) if executor.scripts and script else None
    except LauncherError as error:
        for remark in remarks:
            error.add_note(remark)
        raise


@dataclass(frozen=True)
class _Found:
    """What planning has found: what a submission would be of, and what it would ask for."""

    planned: "Planned"
    config: Config
    executor: str
    resources: list[str]
    remarks: list[str]
    scripts: Mapping[Path, str]

    def lines(self, state: str, *following: str) -> list[str]:
        from launcher.commands.columns import told

        plan = self.planned.plan
        return [
            *self.planned.notes,
            f"{state}: {self.planned.run.path.absolute()}",
            f"samples: {plan.rows:,} in {_sizes(self._sizes)}",
            *(f"  {name}: {rows:,} in {counted(shards, 'shard')}" for name, rows, shards in self._manifests),
            *told(self._columns, plan.id_column),
            f"executor: {self.executor}",
            *_profile_lines(self.config),
            *self.resources,
            *self.remarks,
            *(f"script: {path}" for path in self.scripts),
            *following,
        ]

    def document(self) -> "PlanDocument":
        plan, sizes = self.planned.plan, self._sizes
        document: PlanDocument = {
            "run": str(self.planned.run.path),
            "is_new": self.planned.is_new,
            "fingerprint": plan.fingerprint,
            "samples": plan.rows,
            "shards": {"total": len(sizes), "min_samples": min(sizes), "max_samples": max(sizes)},
            "columns": [{"name": name, "type": kind} for name, kind in self._columns.items()],
            "id": plan.id_column,
            "executor": self.executor,
            "profiles": dict(self.config.profiles),
            "resources": self.resources,
            "remarks": self.remarks,
            "scripts": [{"path": str(path), "text": text} for path, text in self.scripts.items()],
        }
        if self.config.sweep:
            document["sweep"] = self.config.sweep
        if self._manifests:
            manifests = self._manifests
            document["manifests"] = [{"name": name, "samples": rows, "shards": n} for name, rows, n in manifests]
        return document

    @cached_property
    def _columns(self) -> Mapping[str, str]:
        from jobs.storage.samples import Samples

        plan = self.planned.plan
        upstream = Upstream.of(plan)
        outputs = dict.fromkeys(upstream.outputs, f"in run {upstream.name}") if upstream else {}
        return {**Samples(plan.manifest_file(self.planned.run)).columns, **outputs}

    @cached_property
    def _sizes(self) -> list[int]:
        return [shard.rows for shard in self.planned.plan.shards()]

    @property
    def _manifests(self) -> list[tuple[str, int, int]]:
        """Of several, of each its name, samples and shards."""
        plan = self.planned.plan
        return [(str(part.name), part.rows, plan.shards_of(part).count) for part in plan.parts]


def _profile_lines(config: Config) -> list[str]:
    """Each profile with the keys that it sets."""
    keys: dict[str, list[str]] = {}
    for key, place in config.profiles.items():
        keys.setdefault(place.rpartition(":")[0], []).append(key)
    return [f"profile: {file}: {', '.join(own)}" for file, own in keys.items()]


def _other_settings(planned: "Planned", config: Config) -> list[str]:
    """What decides nothing of the result, and is another than the run goes on with by its name: ``node.workers: 4 -> 2``."""
    from launcher.config.differences import differences
    from launcher.plan.guard import deciding_differences
    from launcher.submit.settings import current_config

    known, now = current_config(planned.run, planned.plan).to_mapping(), config.to_mapping()
    deciding = deciding_differences(known, now)
    return [line for line in differences(known, now) if line not in deciding]


def _planned(planned: "Planned", settings: Sequence[str]) -> str:
    if planned.is_new:
        return "planned"
    if settings:
        return f"already planned, with the same samples and Job; settings changed: {'; '.join(settings)}"
    return "already planned" if planned.notes else "already planned, nothing changed"


def _next(planned: "Planned", target: Target | None) -> str:
    """What goes on: the run, or with settings that it does not have yet the ``target``; nothing where it is complete."""
    from launcher.status.complete import read_complete

    name = reference(planned.run)
    if not planned.is_new and read_complete(planned.run):
        return f"it is complete: launcher status {name}; to compute all again: launcher run {name} --fresh"
    if target:
        name = shlex.join([target.text, *(word for text in target.overrides for word in ("--set", text))])
    return f"next: launcher submit {name}, or launcher run {name}"


def _next_of_sweep(namesake: RunDir, count: int) -> str:
    """``namesake`` would be a run that is called as the sweep: commands take the name for that."""
    name = namesake.name
    if is_file(namesake.plan):
        how = "the same command with run or submit in the place of plan"
        return f"next: {how} ({name} alone is another run); all {count} together: launcher list --sweep {name}"
    return f"next: launcher submit {name}, or launcher run {name}; all {count} together: launcher status {name}"


def _sizes(sizes: Sequence[int]) -> str:
    """``4 shards of 25``, ``4 shards of 24 to 26``; of one, its size was told."""
    least, most = min(sizes), max(sizes)
    each = f" of {least:,}" + (f" to {most:,}" if most > least else "") if len(sizes) > 1 else ""
    return f"{counted(len(sizes), 'shard')}{each}"
