"""StoreCheck: the results of a run verified where they are: those in stores as copies, each byte of which was read there."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jobs.gather.gathering import Progress
from jobs.gather.verify import VerifyReport, verify
from jobs.references.stores import check_url
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.runs.result_place import ResultPlace, result_places
from launcher.runs.submissions import SubmissionState, chosen_form, chosen_output


def verify_results(
    run: RunDir, submissions: Sequence[SubmissionState], progress: Progress | None = None
) -> VerifyReport:
    """As ``verify``, of results wherever the newest submission wants them. RunError, too, where a store does not give one."""
    store = chosen_form(submissions).store
    if not store:
        return verify(run, output=chosen_output(submissions), progress=progress)
    check_url(store)
    places = result_places(run, Plan.read(run.plan), submissions)
    with tempfile.TemporaryDirectory(prefix="launcher-verify-", ignore_cleanup_errors=True) as folder:
        copies = RunDir(Path(folder)).outgoing_to(store)
        found = [_found(place, run.result_of(place.part.name, copies)) for place in places]
        report = verify(run, output=copies, progress=progress)
    return _of_stores(report, places, found, store)


def _of_stores(
    report: VerifyReport, places: Sequence[ResultPlace], found: Sequence[Sequence[str]], store: str
) -> VerifyReport:
    """A report of copies as one of what is in the store; ``found``: what is not there as it was written."""
    reports = [
        _of_store(one, place, problems)
        for one, place, problems in zip(report.parts or (report,), places, found, strict=True)
    ]
    if not report.parts:
        return reports[0]
    told = tuple(f"{one.name}: {problem}" for one in reports for problem in one.result_problems)
    there = store if all(one.result for one in reports) else None
    return replace(report, parts=tuple(reports), result=there, result_problems=told)


def _found(place: ResultPlace, copy: Path) -> list[str]:
    """What is not in the store as it was written, in words; HDF5 is copied, to be compared with the journals."""
    from launcher.results.staged import differing, fetch  # most results are files, and need none of it

    if not (place.delivered and place.exists):
        return []
    if place.is_folder:
        return list(differing(place.delivered.files))
    copy.parent.mkdir(parents=True, exist_ok=True)
    return list(fetch(place.delivered.files, copy.parent))


def _of_store(report: VerifyReport, place: ResultPlace, found: Sequence[str]) -> VerifyReport:
    """A report of a copy as one of what is in the store."""
    if not place.exists:
        return report
    told = tuple(problem.replace(str(report.result), place.url) for problem in report.result_problems)
    return replace(report, result=place.url, result_problems=(*found, *told))
