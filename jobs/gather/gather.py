"""Gather: all shards' committed rows -> result.h5, one for each manifest.

One pass over the data in constant memory: read what neighbouring batches have stored, check each block's xxh3 against the
journal, write it where it belongs in the result.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from jobs.errors import IncompleteError, RunError
from jobs.gather.gather_report import GatherReport
from jobs.gather.gathering import Gathering, Progress, of_the_rest
from jobs.gather.manifest_check import check_manifest
from jobs.gather.new_result import NewResult
from jobs.gather.objection import holds_complete, objection
from jobs.gather.result_index import indexed_files
from jobs.gather.shortfall import shortfall
from jobs.gather.survey import Surveyed, survey_results
from jobs.gather.volumes import Volume, VolumeCutter, cut
from jobs.job import has_reduce, make_job
from jobs.storage.code import changed, told
from jobs.storage.files import exists, is_file
from jobs.storage.plans import Plan
from jobs.storage.records import Part
from jobs.storage.rundir import RunDir
from jobs.storage.seals import read_seal
from jobs.storage.submission import PLAIN, ResultForm
from jobs.storage.upstreams import refuse_outdated


def gather(
    run: RunDir,
    *,
    allow_missing: bool = False,
    output: Path | None = None,
    form: ResultForm = PLAIN,
    progress: Progress | None = None,
    with_new_code: bool = False,
    keep: bool = False,
) -> GatherReport:
    """Makes the result at ``output`` (default: the run's result.h5), whole or not at all; one for each of its manifests.

    ``form`` says whether it may be several files, and is compressed.
    ``progress`` is called with the rows done and all rows. With ``keep`` a complete result that is there and of what is stored
    stays, once each of its bytes is compared with the journals. With ``allow_missing``, samples without an intact result
    are left out and the result is marked as not complete; otherwise, and where that would take the place of a complete
    result, raises IncompleteError where a shard is not done (or more of its samples have failed than may), and DamageError
    where no attempt has what it committed. Raises OutputError where attempts do not fit together, BusyError where another
    process makes the same result, RunError where it cannot be written or the Job's reduce raises, where the run whose samples
    these are was computed again, or where the Job folds its results and its code has changed (unless ``with_new_code``),
    InputError where it cannot be imported here.
    """
    started = time.monotonic()
    plan = Plan.read(run.plan)
    _check_run(run, plan)
    new_code = _new_code(run, plan, with_new_code)
    paths = [run.result_of(part.name, output) for part in plan.results]
    for path in paths:
        if problem := objection(path, run):
            raise RunError(problem)
    with ExitStack() as stack:
        # Before the survey: of two that make the same result, the later one has to see what is stored by then.
        results = [stack.enter_context(NewResult(path)) for path in paths]
        cutters = _cutters(run, plan, form)
        surveyed = survey_results(run, plan, (lambda part, stored: cutters[part].add(stored)) if cutters else None)
        if not (allow_missing and _may_lack(surveyed, paths)):
            _refuse_missing(run, plan, surveyed, paths)
        volumes = [cut(one.survey, cutters.get(one.part)) for one in surveyed]
        reports = [
            (keep and _kept(run, plan, one, own, result.path, progress))
            or Gathering(
                run,
                plan,
                one,
                own,
                result,
                form,
                allow_missing=allow_missing,
                progress=progress,
                new_code=new_code,
            ).write()
            for one, own, result in zip(surveyed, volumes, results, strict=True)
        ]
    path, seconds = run.result_of("{manifest}", output), time.monotonic() - started
    total = GatherReport.total(path, reports, seconds) if plan.parts else reports[0]
    return replace(total, new_code=tuple(new_code))


def _kept(
    run: RunDir, plan: Plan, one: Surveyed, volumes: Sequence[Volume], path: Path, progress: Progress | None
) -> GatherReport | None:
    """The report of a result that is there as it would be made now, of as many files; None where it is not."""
    from jobs.gather.verify import check_result  # only results on their way to a store are kept

    started, files = time.monotonic(), [file.path for file in indexed_files(path)]
    if not is_file(path) or (len(files) or 1) != len(volumes) or read_seal(path) != (seal := one.seal(plan)):
        return None

    def advance(done: int) -> None:  # the part's rows come before those that are compared
        if progress:
            progress(one.part.start + done - one.part.rows, plan.rows)

    if check_result(run, plan, one, path, advance):
        return None
    size, seconds = sum(file.stat().st_size for file in (path, *files)), time.monotonic() - started
    return GatherReport.of(path, one.part, one.survey, seal, size=size, files=len(volumes), seconds=seconds)


def _check_run(run: RunDir, plan: Plan) -> None:
    """Raises RunError where there is nothing to make a result of, or of samples that are others by now."""
    if exists(run.cleaned):
        raise RunError(
            f"{run.path}: was cleaned (launcher clean), so there is nothing to make a result of, and the one that it had is "
            "all; to compute it again: launcher run CONFIG --fresh"
        )
    check_manifest(run, plan, whole=False)
    refuse_outdated(run, plan)


def _new_code(run: RunDir, plan: Plan, is_wanted: bool) -> list[str]:
    """What has changed since the plan of a Job that folds its results. Raises RunError where that is not wanted."""
    found = changed(plan.code) if has_reduce(make_job(plan.job)) else []
    if found and not is_wanted:
        raise RunError(
            f"{run.path}: {told(plan, found)}, which folds the results; to make the summary with the code of now: "
            f"launcher gather {run.argument}"
        )
    return found


def _cutters(run: RunDir, plan: Plan, form: ResultForm) -> dict[Part, VolumeCutter]:
    """Of each result, where it may be several files."""
    most = form.room
    return {part: VolumeCutter(run, plan, part, most=most) for part in plan.results} if most else {}


def _may_lack(surveyed: Sequence[Surveyed], paths: Sequence[Path]) -> bool:
    """Whether no result that is not complete would take the place of one that is: that one may be all there is of its rows."""
    return not any(holds_complete(path) for one, path in zip(surveyed, paths, strict=True) if not one.survey.whole)


def _refuse_missing(run: RunDir, plan: Plan, surveyed: Sequence[Surveyed], paths: Sequence[Path]) -> None:
    if problems := list(shortfall(run, plan, [one.survey for one in surveyed])):
        lacking = [path for one, path in zip(surveyed, paths, strict=True) if not one.survey.whole]
        raise IncompleteError(f"{run.path}: {'; '.join(problems)}; {of_the_rest(run, lacking)}")
