"""Planning: Config -> run directory. Checks everything that can be checked before a node is asked for.

plan.json makes a folder a run, and is written once: of several that plan a run at a time, one has its way. What else there
is follows from it, so planning again writes anew what is missing. A run that is planned already is only compared: its
fingerprint covers all that decides the bytes of the result, but for the Job's code and files, which are compared by themselves.
What becomes of a plan that is not right any more, guard.py says.
"""

import os
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.errors import InputError
from jobs.storage.code import fingerprint
from jobs.storage.files import (
    exists,
    fsync_file,
    fsync_folder,
    has_content,
    rename_synced,
    temporary_name,
    write_bytes,
    write_once,
)
from jobs.storage.plans import Plan
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir
from jobs.storage.upstreams import Upstream
from launcher.config.config import Config
from launcher.config.data_section import RunManifest
from launcher.config.upstreams import upstream_path, upstream_paths
from launcher.plan.changes import BATCHES, compared, differences, job_changes, other_batches
from launcher.plan.config_check import column_problems, fold_problems, job_problems, output_problems
from launcher.plan.guard import Way, can_be_kept, check_job_folder, refusal
from launcher.plan.new_plan import (
    build,
    code_and_files,
    frozen_config,
    new_plan,
)
from launcher.plan.replacement import beside, has_results, refuse_while_it_goes_on, replace_run
from launcher.plan.runs_folder import check_runs_folder, made_for_good, name_problems
from launcher.plan.upstream import circles, look_upstream, told, upstream_problems, with_upstream
from launcher.runs.find import reference


@dataclass(frozen=True)
class Planned:
    """A run that is ready to submit; ``is_new`` is False where it had been planned before. ``notes`` are for the user."""

    run: RunDir
    plan: Plan
    is_new: bool
    notes: tuple[str, ...] = ()


def make_plan(config: Config, way: Way = Way.REFUSE, checked: Callable[[], object] = lambda: None) -> Planned:
    """Plans the run of a config, or checks that it was planned from the same. Raises InputError for all that is wrong.

    ``checked`` is called once the config is known to be right, before anything is written: it may refuse, too.
    """
    run = RunDir(config.run_folder)
    job = config.job_spec
    needed, problems = job_problems(job, config.node.workers)
    problems = problems or fold_problems(config, job)
    if problems := [*problems, *name_problems(config), *output_problems(config), *upstream_problems(config)]:
        raise InputError(config.origins.report(problems))
    checked()
    was_planned = has_content(run.plan)
    if not was_planned and (plan := _plan_anew(run, config, job, needed)):
        return Planned(run, plan, is_new=True, notes=tuple(told(plan)))
    known, changes = compared(run, Plan.read(run.plan), config, job)
    if changes and not was_planned:  # it is the plan of somebody who goes on with it now
        raise InputError(
            f"{run.path}: at this moment this run was planned otherwise by another launcher: {'; '.join(changes)}. "
            f"Give yours another name (--set name={run.name}-2)"
        )
    return _settled(run, known, config, job, changes, way)


def go_on(run: RunDir, known: Plan, config: Config, way: Way = Way.REFUSE) -> Planned:
    """The plan by which a run goes on with these settings; its samples are not read again. Errors as in ``make_plan``."""
    check_job_folder(run, known)
    job = replace(config.job_spec, folder=known.job.folder)
    if problems := circles(config):
        raise InputError(config.origins.report(problems))
    if config.data.of_run:  # its samples are those of another run, which may be other ones by now
        known, changes = compared(run, known, config, job)
    else:
        changes = [*differences(known, config), *job_changes(known, job)]
    return _settled(run, known, config, job, changes, way)


def _settled(run: RunDir, known: Plan, config: Config, job: JobSpec, changes: Sequence[str], way: Way) -> Planned:
    """The known plan, where nothing has changed or results are to be kept; else another in its place."""
    upstream = Upstream.of(known)
    if way is Way.KEEP and not changes and upstream and upstream.overlaps and (change := upstream.change(run)):
        changes = [change]  # without a word of it, what it took from that one would be computed again
    if not changes and way is not Way.FRESH:
        return Planned(run, _placed(run, known, config, job), is_new=False)
    needed, problems = job_problems(job, config.node.workers)  # a run goes on with other params, too
    if problems:
        raise InputError(config.origins.report(problems))
    if not any(change.startswith(BATCHES) for change in changes):
        changes = [*changes, *other_batches(known, config, job)]
    with_results = has_results(run, known)
    is_kept = with_results and way is Way.KEEP and can_be_kept(changes)
    if with_results and not is_kept and way is not Way.FRESH:
        raise refusal(run, changes, _grows_from(run, config, changes), of_python=config.path == run.config)
    if is_kept:
        plan = _keep(run, known, config, job, changes)
        return Planned(run, plan, is_new=False, notes=_changes_told("kept, despite", changes))
    refuse_while_it_goes_on(run)
    with beside(run) as new:
        made = _plan_anew(new, config, job, needed)
        assert made  # nobody else knows of that folder
        _take_along(config, run, new)
        aside = replace_run(run, known, new, set_aside=with_results)
    notes = [f"what was computed before is set aside: {aside}"] if aside else []
    notes += told(made)
    return Planned(run, made, is_new=True, notes=(*_changes_told("planned anew", changes), *notes))


def _grows_from(run: RunDir, config: Config, changes: Sequence[str]) -> str | None:
    """What `launcher extend` is to be given: the run, or a config that names other files; None where it cannot grow.

    It grows where it has a manifest of its own, which can be given with more samples in it.
    """
    if config.data.of_run or any(_is_given(run, path) for path in map(config.resolve, config.data.sources)):
        return None
    is_another = any(change.startswith("data.manifest") for change in changes)
    return shlex.quote(str(config.path)) if is_another else reference(run)


def _is_given(run: RunDir, path: Path) -> bool:
    """Whether a script or notebook gave it; the run may be called by another path to it."""
    return path.parent.name == run.given.name and path.parent.resolve() == run.given.resolve()


def _take_along(config: Config, run: RunDir, new: RunDir) -> None:
    """What a script or notebook gave lies in the run directory, too: what is of this plan stays there."""
    for path in map(config.resolve, [*config.job.import_from, *config.data.sources]):
        if _is_given(run, path):
            new.given.mkdir(exist_ok=True)
            place = new.given / path.name
            if path.is_dir():
                shutil.copytree(path, place, ignore=shutil.ignore_patterns("__pycache__"), copy_function=_link)
                fsync_folder(place)
            else:
                _link(path, place)
            fsync_folder(new.given)


def _link(source: str | Path, target: str | Path) -> None:
    """The same file under another name, or a copy where there are no links: samples may be gigabytes, nobody writes on them."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
        fsync_file(Path(target))


def _placed(run: RunDir, known: Plan, config: Config, job: JobSpec) -> Plan:
    """The plan, with folders as they are called now if they were moved, and with the runs that it comes after now."""
    plan = replace(known, after=tuple(map(str, upstream_paths(config))))
    if (of_run := config.data.of_run) and (upstream := Upstream.of(known)):
        plan = with_upstream(plan, replace(upstream, run=str(upstream_path(config, of_run.run))))
    if not all(map(os.path.isdir, known.job.folders)):  # array tasks work there, and import from there
        environment = {**known.environment, "config": os.path.abspath(config.path)}
        plan = replace(plan, job=job, environment=environment, **code_and_files(job))
    if plan != known:
        plan.write(run.plan)
    return plan


def _changes_told(what: str, changes: Sequence[str]) -> tuple[str, ...]:
    return (f"{what}: {'; '.join(changes)}",) if changes else ()


def _keep(run: RunDir, known: Plan, config: Config, job: JobSpec, changes: Sequence[str]) -> Plan:
    """Writes the plan with the Job as it is now, and says so in it: it becomes part of the results' provenance.

    Its fingerprint stays that which attempts and submissions know it by. Raises InputError while the run is not complete whose
    samples it has.
    """
    kept = (*known.kept, {"time": time.time(), "changes": list(changes), "code_before": fingerprint(known.code)})
    section = {"job": config.to_mapping()["job"]}
    plan = replace(known, job=job, config={**known.config, **section}, kept=kept, **code_and_files(job))
    if of_run := config.data.of_run:  # whose samples are the same ones, as it is by now
        plan = with_upstream(plan, _upstream_now(run, known, config, of_run))
    plan.write(run.plan)
    write_bytes(run.config, frozen_config(config).encode(errors="surrogateescape"))
    return plan


def _upstream_now(run: RunDir, known: Plan, config: Config, wanted: RunManifest) -> Upstream:
    before, now = Upstream.of(known), look_upstream(config, wanted)[0]
    if before and now.overlaps and replace(before, run=now.run, kept="") == now and before.change(run) is None:
        return replace(before, run=now.run)  # it may go on: of that one nothing has to be said
    stored = look_upstream(config, wanted.model_copy(update={"overlap": None}))[0].seal if now.overlaps else now.seal
    if not stored:  # what is right of it is not known yet, and without a seal no change would be told any more
        raise InputError(
            f"{run.path}: run {now.name} is not complete now; whether results stay right can be said once it is: "
            f"launcher status {reference(now.directory)}"
        )
    return replace(now, omitted=before.omitted if before else 0, kept=stored if now.overlaps else "")


def _plan_anew(run: RunDir, config: Config, job: JobSpec, needed: Collection[str]) -> Plan | None:
    """None where another one has planned the run meanwhile."""
    try:
        _check_folder(run)
    except InputError:
        if has_content(run.plan):  # since we looked, and submitted too
            return None
        raise
    temporary = temporary_name(run.manifest)
    with made_for_good(run.path):
        try:
            check_runs_folder(run.path)
            manifest = build(config, temporary)
            if problems := column_problems(needed, manifest, job):
                raise InputError(config.origins.report(problems))
            plan = new_plan(config, job, manifest, temporary)
            data = plan.encode()
            run.make()
            # It decides whose run this is. Only then the rest gets its names: two manifests must not change places under it.
            if write_once(run.plan, data) != data:
                return None
            rename_synced(temporary, run.manifest)
            write_bytes(run.config, frozen_config(config).encode(errors="surrogateescape"))
            return plan
        finally:
            temporary.unlink(missing_ok=True)


def _check_folder(run: RunDir) -> None:
    """Raises InputError where the run directory exists and holds something else."""
    if exists(run.path) and not run.path.is_dir():
        raise InputError(f"{run.path}: is a file; the run directory is <runs>/<name>: choose another name")
    files = (run.config, run.manifest, run.plan)
    own = {
        path.name
        for path in (run.submissions, run.attempts, run.old_shards, run.downstream, run.logs, run.given, *files)
    }
    names = sorted(path.name for path in run.path.iterdir()) if run.path.is_dir() else []
    strange = [name for name in names if name not in own and not name.endswith(".tmp")]
    # Planning leaves these empty, also where it was killed.
    if any(folder.is_dir() and any(folder.iterdir()) for folder in (run.submissions, run.attempts, run.old_shards)):
        raise InputError(
            f"{run.path}: holds what a run has computed, but its {run.plan.name} is gone, which says of what: "
            f"bring back a copy of it, or choose another name; to compute all again, first rm -r {run.path}"
        )
    if strange:
        raise InputError(f"{run.path}: exists and is no run directory (it holds {strange[0]!r}); choose another name")
