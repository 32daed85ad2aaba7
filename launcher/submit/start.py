"""Start: a run goes on: with which plan and settings, and what is submitted of it; as a command, and from Python.

What imports numpy or pyarrow is imported in the functions, so that a scheduler is asked for its limits before.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobs.errors import InputError
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import union
from jobs.storage.submission import Submission
from jobs.storage.upstreams import Upstream
from launcher.config.config import Config, config_from_mapping
from launcher.config.origins import apply_overrides
from launcher.executors import choose_executor
from launcher.runs.find import reference
from launcher.submit.settings import current_config
from launcher.units import counted

if TYPE_CHECKING:
    from launcher.documents.starts import StartDocument
    from launcher.plan.guard import Way
    from launcher.plan.plan import Planned
    from launcher.status.chain import Link
    from launcher.submit.submit import Selection

# Keys of a config that say which run it is, and where.
_OF_ITS_PLAN = ("name", "runs", "folder", "sweep", "include")


@dataclass(frozen=True)
class Started:
    """What became of a start: the submissions made of what was selected, or the run ``waits_for`` another.

    ``notes`` are for the user.
    """

    run: RunDir
    plan: Plan
    config: Config
    selection: "Selection | None" = None
    submissions: tuple[Submission, ...] = ()
    waits_for: "Link | None" = None
    notes: tuple[str, ...] = field(default=())

    @property
    def lines(self) -> list[str]:
        """All of it in words, and what to do next."""
        return [*self.notes, *(self._waiting() if self.waits_for else self._submitted())]

    def __str__(self) -> str:
        return "\n".join(self.lines)

    __repr__ = __str__

    def _waiting(self) -> list[str]:
        assert self.waits_for
        run, link, name = self.run, self.waits_for, reference(self.run)
        return [
            f"run directory: {run.path.absolute()}",
            f"it waits for {reference(link.run)}, {link.words}, and is submitted by itself {link.turn}",
            f"follow: launcher status {name} --watch",
        ]

    def _submitted(self) -> list[str]:
        from launcher.submit.result import is_wanted_elsewhere
        from launcher.submit.submit import nothing_to_do

        assert self.selection
        if not self.submissions:
            elsewhere = not self.selection.running and is_wanted_elsewhere(self.run, self.config)
            moves = ["it is not where output.path wants it now: launcher run, with the same config, writes it there"]
            return [nothing_to_do(self.run, self.selection), *(moves if elsewhere else [])]
        executor, table = choose_executor(self.submissions[0].executor), self.plan.table
        attended = any(made.resources.attended for made in self.submissions)
        return [
            f"run directory: {self.run.path.absolute()}",
            *(
                f"submission {made.number}: {counted(table.shards_in(made.work(table)).count, 'shard')}, "
                f"{counted(made.tasks, 'array task')}, {executor.place(made)}"
                for made in self.submissions
            ),
            *executor.remarks(self.config),
            f"then: launcher run {reference(self.run)}"
            if attended
            else f"follow: launcher status {reference(self.run)} --watch",
        ]

    def to_json(self) -> "StartDocument":
        """The document of ``launcher submit --json``."""
        nothing: StartDocument = {"run": str(self.run.path), "submission": None, "shards": []}
        if self.waits_for:
            return {**nothing, "waits_for": str(self.waits_for.run.path)}
        if not self.submissions:
            return nothing
        first, table = self.submissions[0], self.plan.table
        return {
            "run": str(self.run.path),
            "submission": first.number,
            "executor": first.executor,
            "job_ids": [job_id for made in self.submissions for job_id in made.job_ids],
            "finalize_id": first.finalize_id,
            "process": first.process,
            "shards": list(union(table.shards_in(made.work(table)) for made in self.submissions).numbers),
            "submissions": [{"number": made.number, "job_ids": list(made.job_ids)} for made in self.submissions],
        }


def go_on(
    run: RunDir, way: "Way", overrides: Sequence[str] = (), config: Config | None = None
) -> "tuple[Planned, Config]":
    """A run as it was planned, and the settings that it goes on with: of ``config``, else those that it had; and overrides."""
    known = Plan.read(run.plan)
    return _planned(run, known, way, _settings(run, known, overrides, config))


def _planned(run: RunDir, known: Plan, way: "Way", config: Config) -> "tuple[Planned, Config]":
    executor = choose_executor(config.executor)
    executor.check(config)
    executor.prepare(config)
    from launcher.plan.plan import go_on as planned

    return planned(run, known, config, way), config


def _settings(run: RunDir, known: Plan, overrides: Sequence[str], config: Config | None) -> Config:
    """``overrides`` are ``key=value``."""
    _refuse_another(run, known, overrides)
    if config is None:
        return current_config(run, known, overrides)
    changed, texts = apply_overrides(config.to_mapping(), overrides)
    return config_from_mapping(changed, config.path, texts, config.profiles)


def _refuse_another(run: RunDir, known: Plan, overrides: Sequence[str]) -> None:
    """Raises InputError for what says which run it is: that it is already."""
    keys = [override.partition("=")[0].strip() for override in overrides]
    if wrong := next((key for key in keys if key in _OF_ITS_PLAN), None):
        config = shlex.quote(known.environment["config"])
        raise InputError(
            f"--set {wrong}: {run.path} is planned, and stays where and what it is; another run: launcher plan {config} --set "
            f"{wrong}=..."
        )


def start(planned: "Planned", config: Config) -> Started:
    """Submits what is not done, or has the run wait for those before it."""
    from launcher.submit.submit import select_rows

    run = planned.run
    if config.after or config.data.of_run:
        from launcher.submit.downstream import wait

        if link := wait(run, config):
            return Started(run, planned.plan, config, waits_for=link, notes=planned.notes)
        if (upstream := Upstream.of(planned.plan)) and not upstream.seal:  # that has become complete since
            from launcher.plan.plan import go_on as plan_on

            planned = plan_on(run, planned.plan, config)
    return _submitted(planned, config, select_rows(run, planned.plan), planned.notes)


def start_again(
    run: RunDir,
    way: "Way",
    overrides: Sequence[str] = (),
    *,
    shards: str | None = None,
    tasks: int | None = None,
    memory: str | None = None,
    time: str | None = None,
    config: Config | None = None,
) -> Started:
    """A new submission of what is not done; of ``shards`` that are named, of what is damaged or has failed in them too."""
    from launcher.plan.guard import Way
    from launcher.plan.sharding import parse_ranges
    from launcher.submit.submit import select_rows

    if tasks is not None and tasks < 1:
        raise InputError(f"--tasks {tasks}: must be 1 or more")
    known = Plan.read(run.plan)
    settings = _settings(run, known, overrides, config)
    if limits := choose_executor(settings.executor).limit_overrides(memory, time):
        settings = _settings(run, known, [*overrides, *limits], config)
    planned, config = _planned(run, known, way, settings)
    notes, asked = list(planned.notes), None
    if shards and way is Way.FRESH:  # as advice may have it, whose shards are those of before
        notes.append(f"with --fresh all shards are computed, not --shards {shards} alone")
    elif shards is not None:
        asked = parse_ranges(shards, planned.plan.shard_count)
    selection = select_rows(run, planned.plan, asked)
    if asked and selection.running:
        notes.append(f"left out, since they run now: shards {selection.running.brief()}")
    if asked and selection.kept:
        notes.append(f"left out, since they are done and nothing in them failed: shards {selection.kept.brief()}")
    return _submitted(planned, config, selection, notes, tasks=tasks)


def _submitted(
    planned: "Planned", config: Config, selection: "Selection", notes: Sequence[str], *, tasks: int | None = None
) -> Started:
    from launcher.submit.downstream import start_overlapping
    from launcher.submit.submit import submit

    nothing = not selection.rows and not selection.running
    try:
        made = [] if nothing else submit(planned.run, config, selection, tasks=tasks)
        if made:
            start_overlapping(planned.run)
    except BaseException as error:  # what was set aside, or left out, is so all the same
        for note in notes:
            error.add_note(note)
        raise
    return Started(planned.run, planned.plan, config, selection, tuple(made), notes=tuple(notes))
