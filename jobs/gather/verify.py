"""Verify: every row that counts and every row of the result, hashed again and compared with the journals and the manifest.

Not covered: /summary, which only the Job could compute again, and what HDF5 itself keeps in the files (a result of
which that is damaged does not open, or lacks a dataset).
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobs.errors import DamageError
from jobs.gather.committed import Damage
from jobs.gather.damage_check import find_damage
from jobs.gather.gathering import Progress
from jobs.gather.manifest_check import check_manifest
from jobs.gather.result_check import ResultIds, check_file
from jobs.gather.result_file import ResultFile
from jobs.gather.result_index import located, problem, read_index
from jobs.gather.section import Sections
from jobs.gather.survey import Surveyed, survey_results
from jobs.gather.volumes import Volume, cut_at
from jobs.storage.attempts import read_records
from jobs.storage.files import exists
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.seals import read_seal
from jobs.storage.spans import Spans

_GONE = "is gone, and so is what it was made of: the run was cleaned"


@dataclass(frozen=True)
class VerifyReport:
    """What was looked at, and what is damaged.

    ``batches`` counts the commits that count, ``bad_lines`` the journals' lines that do not match their checksum (a crash
    leaves one; rows that only they had are listed in ``damaged`` where they are done, and done again where they are not).
    ``missing`` counts the samples that no journal has; ``code`` are the fingerprints of the Job's files, each with the rows
    of the result that it computed. ``result`` is None where there is none yet, a URL where it is in a store;
    ``result_problems`` says in words what differs in it. With several manifests, ``parts`` has a report of each by its
    ``name``, and the other fields are of all of them.
    """

    shards: int
    batches: int
    bad_lines: int
    damaged: tuple[Damage, ...]
    result: Path | str | None
    result_problems: tuple[str, ...]
    seconds: float
    name: str | None = None
    parts: "tuple[VerifyReport, ...]" = ()
    code: Mapping[str, Spans] = field(default_factory=dict)
    missing: int = 0

    @property
    def ok(self) -> bool:
        return not self.damaged and not self.result_problems


def verify(run: RunDir, *, output: Path | None = None, progress: Progress | None = None) -> VerifyReport:
    """Checks all that is done of all shards, and the result at ``output`` (default: the run's result.h5) if there is one.

    Of a run that was cleaned there is only the result, which is compared with the journals as ever.
    ``progress`` is called with the rows done and all rows, which count twice where there is a result. Raises
    OutputError where attempts do not fit together, DamageError where the manifest is not what was planned.
    """
    started = time.monotonic()
    plan = Plan.read(run.plan)
    check_manifest(run, plan)
    found: list[tuple[Surveyed, Path | None]] = []
    for one in survey_results(run, plan):
        path = run.result_of(one.part.name, output)
        found.append((one, path if path.exists() else None))
    total = sum(one.part.rows * (2 if result else 1) for one, result in found)
    reports: list[VerifyReport] = []
    before = 0
    for one, result in found:
        reports.append(_verify(run, plan, one, result, _advance(progress, before, total)))
        before += one.part.rows * (2 if result else 1)
    return _total(run, reports, output, time.monotonic() - started) if plan.parts else reports[0]


def _advance(progress: Progress | None, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(before + done, total) if progress else None


def _verify(
    run: RunDir, plan: Plan, one: Surveyed, result: Path | None, advance: Callable[[int], None]
) -> VerifyReport:
    started = time.monotonic()
    is_cleaned = exists(run.cleaned)  # there is nothing left but the result
    damaged = () if is_cleaned else tuple(find_damage(one.committed, one.part.rows, advance))
    problems = check_result(run, plan, one, result, advance) if result else (_GONE,) if is_cleaned else ()
    shards = plan.shards_of(one.part).count
    counts = (shards, one.survey.batches, _bad_lines(one), damaged)
    seconds = time.monotonic() - started
    return VerifyReport(
        *counts, result, problems, seconds, one.part.name, code=one.survey.code, missing=one.survey.missing
    )


def _bad_lines(one: Surveyed) -> int:
    """Of the journals whose attempts have begun in this part; those that have nothing done count as if at row 0."""
    journals = (
        source.attempt.journal
        for source in one.committed.sources
        if one.part.start <= (source.attempt.beat.done.first if source.attempt.beat.done else 0) < one.part.stop
    )
    return sum(record is None for journal in journals for record in read_records(journal))


def _total(run: RunDir, reports: Sequence[VerifyReport], output: Path | None, seconds: float) -> VerifyReport:
    shards, batches, lines = (sum(getattr(r, name) for r in reports) for name in ("shards", "batches", "bad_lines"))
    damaged = tuple(damage for report in reports for damage in report.damaged)
    result = run.result_of("{manifest}", output) if all(report.result for report in reports) else None
    problems = tuple(f"{report.name}: {problem}" for report in reports for problem in report.result_problems)
    missing = sum(report.missing for report in reports)
    return VerifyReport(
        shards, batches, lines, damaged, result, problems, seconds, parts=tuple(reports), missing=missing
    )


def check_result(run: RunDir, plan: Plan, one: Surveyed, path: Path, advance: Callable[[int], None]) -> tuple[str, ...]:
    """What in a result differs from the journals and the manifest, in words."""
    try:
        with ResultFile.opened(path) as result:
            attributes = result.attributes
        theirs = json.loads(attributes.get("provenance", "{}"))
        if theirs.get("fingerprint") != plan.fingerprint:
            return (f"{path}: holds the result of another run, {theirs.get('name')!r}",)
        if len(theirs.get("grown", ())) != len(plan.grown):
            return (f"{path}: is from before the run was extended, when it had {theirs.get('rows')} rows",)
        if one.survey.missing and bool(attributes.get("complete")):
            gone = f"attempts/ has no commit of {one.survey.missing:,} of its {one.part.rows:,} samples"
            return (f"{path}: is complete, but cannot be compared: {gone}",)
        return tuple(_check_files(run, plan, one, path, lambda stop: advance(one.part.rows + stop)))
    except DamageError as error:
        return (str(error),)


def _check_files(run: RunDir, plan: Plan, one: Surveyed, path: Path, advance: Callable[[int], None]) -> Iterator[str]:
    """Of a result in one file, or of each that its index names."""
    files = read_index(path)
    ids = ResultIds(plan.manifest_file(run), plan.id_column, one.part)
    if not files:
        whole = Volume(0, one.part.rows, one.survey.contents)
        yield from check_file(path, whole, ids, Sections(one.committed).take(0, one.part.rows), advance)
        return
    volumes = cut_at(run, plan, one, [file.start for file in files])
    if [(one.start, one.stop) for one in volumes] != [(file.start, file.stop) for file in files]:
        yield f"{path}: its files are not of the rows that the run has"
        return
    seal, sections = read_seal(path) or "", Sections(one.committed)
    for file, volume in zip(files, volumes, strict=True):
        if found := problem(file, seal):
            yield found
            continue
        section = sections.take(file.start, file.stop)
        yield from (
            f"{file.path.name}: {told}" for told in check_file(located(file.path), volume, ids, section, advance)
        )
