"""Gather: all shards' committed rows -> result.h5, one for each manifest.

One pass over the data in constant memory: read what neighbouring batches have stored, check each block's xxh3 against the
journal, write it where it belongs in the result.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jobs.errors import DamageError, IncompleteError, RunError
from jobs.gather.block_copier import BlockCopier
from jobs.gather.committed import Damage, Unlike
from jobs.gather.manifest_check import check_manifest
from jobs.gather.provenance import provenance
from jobs.gather.reduction import summarize
from jobs.gather.result_file import NewResult, ResultFile, complete, create
from jobs.gather.result_place import holds_complete, objection
from jobs.gather.result_rows import StateWriter, put_ids
from jobs.gather.shortfall import shortfall
from jobs.gather.survey import Survey, Surveyed, survey_results
from jobs.gather.window_reader import WindowReader
from jobs.gather.windows import windows
from jobs.job import has_reduce, make_job
from jobs.storage.code import changed, told
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.upstreams import refuse_outdated

_LISTED = 10

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class GatherReport:
    """What became of a gather. ``bytes`` is the size of the result; ``damaged`` are rows left out as missing.

    With several manifests, ``parts`` has a report of each by its ``name``, and the other fields are of all of them:
    ``path`` has {manifest} for their names. ``new_code`` are the files of a Job that folds which had changed since the plan.
    """

    path: Path
    complete: bool
    rows: int
    ok: int
    failed: int
    missing: int
    bytes: int
    damaged: tuple[Damage, ...]
    seconds: float
    name: str | None = None
    seal: str | None = None
    parts: "tuple[GatherReport, ...]" = ()
    new_code: tuple[str, ...] = ()

    @property
    def seals(self) -> tuple[str, ...]:
        """Of each result that is complete; see storage/seals.py."""
        return tuple(one.seal for one in self.parts or (self,) if one.seal)


def gather(
    run: RunDir,
    *,
    allow_missing: bool = False,
    output: Path | None = None,
    progress: Progress | None = None,
    with_new_code: bool = False,
) -> GatherReport:
    """Makes the result at ``output`` (default: the run's result.h5), whole or not at all; one for each of its manifests.

    ``progress`` is called with the rows done and all rows. With ``allow_missing``, samples without an intact result
    are left out and the result is marked as not complete; otherwise, and where that would take the place of a complete
    result, raises IncompleteError where a shard is not done (or more of its samples have failed than may), and DamageError
    where no attempt has what it committed. Raises OutputError where attempts do not fit together, BusyError where another
    process makes the same result, RunError where it cannot be written or the Job's reduce raises, where the run whose samples
    these are was computed again, or where the Job folds its results and its code has changed (unless ``with_new_code``),
    InputError where it cannot be imported here.
    """
    started = time.monotonic()
    plan = Plan.read(run.plan)
    if run.cleaned.exists():
        raise RunError(
            f"{run.path}: was cleaned (launcher clean), so there is nothing to make a result of, and the one that it had is "
            "all; to compute it again: launcher run CONFIG --fresh"
        )
    check_manifest(run, plan, whole=False)
    refuse_outdated(run, plan)
    new_code = changed(plan.code) if has_reduce(make_job(plan.job)) else []
    if new_code and not with_new_code:
        raise RunError(
            f"{run.path}: {told(plan, new_code)}, which folds the results; to make the summary with the code of now: "
            f"launcher gather {run.path}"
        )
    paths = [run.result_of(part.name, output) for part in plan.results]
    for path in paths:
        if problem := objection(path, run):
            raise RunError(problem)
    with ExitStack() as stack:
        # Before the survey: of two that make the same result, the later one has to see what is stored by then.
        results = [stack.enter_context(NewResult(path)) for path in paths]
        surveyed = survey_results(run, plan)
        if not (allow_missing and _may_lack(surveyed, paths)):
            _refuse_missing(run, plan, surveyed, paths)
        made = zip(surveyed, results, strict=True)
        reports = [
            _Gathering(run, plan, one, result, allow_missing, progress, new_code).write() for one, result in made
        ]
    total = _total(run, reports, output, time.monotonic() - started) if plan.parts else reports[0]
    return replace(total, new_code=tuple(new_code))


def _may_lack(surveyed: Sequence[Surveyed], paths: Sequence[Path]) -> bool:
    """Whether no result that is not complete would take the place of one that is: that one may be all there is of its rows."""
    return not any(holds_complete(path) for one, path in zip(surveyed, paths, strict=True) if not one.survey.whole)


def _refuse_missing(run: RunDir, plan: Plan, surveyed: Sequence[Surveyed], paths: Sequence[Path]) -> None:
    if problems := list(shortfall(run, plan, [one.survey for one in surveyed])):
        lacking = [path for one, path in zip(surveyed, paths, strict=True) if not one.survey.whole]
        raise IncompleteError(f"{run.path}: {'; '.join(problems)}; {_of_the_rest(run, lacking)}")


def _of_the_rest(run: RunDir, paths: Sequence[Path]) -> str:
    """How to have results, at these paths, of what there is."""
    if kept := [str(path) for path in paths if holds_complete(path)]:
        return f"what is complete stays as it is ({', '.join(kept)}): for a result of the rest move that away first"
    return f"`launcher gather {run.path} --allow-missing` makes a result of what there is"


def _total(run: RunDir, reports: Sequence[GatherReport], output: Path | None, seconds: float) -> GatherReport:
    return GatherReport(
        path=run.result_of("{manifest}", output),
        complete=all(report.complete for report in reports),
        rows=sum(report.rows for report in reports),
        ok=sum(report.ok for report in reports),
        failed=sum(report.failed for report in reports),
        missing=sum(report.missing for report in reports),
        bytes=sum(report.bytes for report in reports),
        damaged=tuple(damage for report in reports for damage in report.damaged),
        seconds=seconds,
        parts=tuple(reports),
    )


class _Gathering:
    """One result on its way."""

    def __init__(
        self,
        run: RunDir,
        plan: Plan,
        surveyed: Surveyed,
        result: NewResult,
        allow_missing: bool,
        progress: Progress | None,
        new_code: Sequence[str],
    ) -> None:
        self._run = run
        self._plan = plan
        self._part = surveyed.part
        self._committed = surveyed.committed
        self._budgets = surveyed.budgets
        self._survey = surveyed.survey
        self._seal = surveyed.seal(plan)
        self._allow_missing = allow_missing
        self._result = result
        self._path = result.path
        self._progress = progress
        self._new_code = new_code

    def write(self) -> GatherReport:
        started = time.monotonic()
        job = make_job(self._plan.job)
        try:
            result = self._fill(self._result.temporary, self._result.descriptor)
            summary: dict[str, np.ndarray] = {}
            if has_reduce(job):
                summary = summarize(job, self._plan.table, self._part, result, self._survey.outputs)
            seal = self._seal if self._survey.whole else None
            complete(self._result.temporary, summary, seal)
            self._result.publish()
        except OSError as error:
            self._result.check()
            raise RunError(f"{self._path}: gather stopped: {error}") from error
        survey, size = self._survey, self._path.stat().st_size
        counts = (survey.rows, survey.ok, survey.failed, survey.missing, size, tuple(survey.lost))
        return GatherReport(self._path, survey.whole, *counts, time.monotonic() - started, self._part.name, seal)

    def _fill(self, temporary: Path, descriptor: int) -> ResultFile:
        """Makes the file with all but the summary."""
        while True:
            facts = provenance(self._run, self._plan, self._part, self._survey)
            if self._new_code:
                facts["summary_by_changed_code"] = self._new_code
            places = create(temporary, self._survey.contents, facts)
            _check_space(temporary)
            result = ResultFile(descriptor, places)
            found = self._copy(result)
            if found:
                # From another attempt, or left out; values lie end to end, so either may move all that follow.
                self._committed.exclude(found)
                outputs = self._survey.outputs
                self._survey = Survey.take(self._run, self._plan, self._part, self._committed, self._budgets)
                self._survey.assume(outputs)
            if self._survey.lost and (not self._allow_missing or holds_complete(self._path)):
                raise DamageError(_damage(self._run, self._survey.lost, self._path))
            if not found:
                return result

    def _copy(self, result: ResultFile) -> list[Unlike]:
        """Writes all datasets; returns what differs from the journals."""
        put_ids(result.put, self._plan.manifest_file(self._run), self._plan.id_column, self._part)
        found: list[Unlike] = []
        with WindowReader() as reader:
            states, copier = StateWriter(result.put), BlockCopier(result, self._survey.outputs, reader)
            for window in windows(self._committed.batches(), self._part.rows):
                states.add(window)
                found += copier.copy(window)
                if self._progress:
                    self._progress(self._part.start + window.stop, self._plan.rows)
        return found


def _check_space(temporary: Path) -> None:
    """Says at once that the data will not fit; the file so far is one large hole."""
    needed = temporary.stat().st_size
    system = os.statvfs(temporary.parent)
    free = system.f_bavail * system.f_frsize
    if free < needed:
        raise RunError(
            f"{temporary.parent}: the result needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: "
            "make room, or set output.path to another file system"
        )


def _damage(run: RunDir, damaged: Sequence[Damage], path: Path) -> str:
    shards = Spans.of_numbers({damage.shard for damage in damaged})
    lines = [f"  {damage}" for damage in damaged[:_LISTED]]
    if len(damaged) > _LISTED:
        lines.append(f"  and {len(damaged) - _LISTED} more")
    return "\n".join(
        [
            f"{run.path}: {len(damaged)} batches are not on disk as they were written, in shards {shards.brief()}:",
            *lines,
            f"`launcher rerun {run.path} --shards {shards.coarse()}` computes them again; {_of_the_rest(run, [path])}",
        ]
    )
