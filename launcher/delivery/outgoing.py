"""Outgoing: the result of a run on its way to a store.

It is made in the run directory, whole, as any result: there is room for what was computed, whoever goes on with it
finds it there, on whatever node, and it goes once the store has it. Files of several go first, the index last: until then
readers see the result before. The record (runs/delivered.py) is written when all objects were seen in the store.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jobs.errors import IncompleteError, RunError
from jobs.gather.gather import gather
from jobs.gather.gather_report import GatherReport
from jobs.gather.gathering import Progress
from jobs.gather.new_result import NewResult
from jobs.gather.result_index import located, read_index
from jobs.references.sent_file import SentFile
from jobs.references.stores import check_url
from jobs.references.uploads import Tick, explained, remove, send
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import ResultForm
from jobs.storage.upstreams import refuse_outdated
from launcher.delivery.exported import exported
from launcher.delivery.store_place import holds_complete, objection, objection_to_folder
from launcher.export.export import RESULT
from launcher.patience import telling
from launcher.runs.delivered import Delivered
from launcher.runs.result_place import ResultPlace, places_of


def send_result(
    run: RunDir,
    *,
    form: ResultForm,
    allow_missing: bool = False,
    progress: Progress | None = None,
    with_new_code: bool = False,
) -> GatherReport:
    """Makes the result of a run and puts it into its store. Errors as in gather; RunError, too, where that does not take it."""
    check_url(form.store)
    plan, output = Plan.read(run.plan), run.outgoing_to(form.store)
    places = places_of(run, plan, output, form)
    with NewResult(places[0].lock) as lock:  # others see that it is being made, until it is in the store

        def advance(done: int, total: int) -> None:
            lock.show()
            if progress:
                progress(done, total)

        _refuse(run, places)
        if form.format:
            refuse_outdated(run, plan)
            made = [exported(place, form, allow_missing=allow_missing, progress=advance) for place in places]
            report = GatherReport.total(output, made, sum(one.seconds for one in made)) if plan.parts else made[0]
        else:
            report = gather(
                run,
                output=output,
                form=form,
                allow_missing=allow_missing,
                progress=advance,
                with_new_code=with_new_code,
                keep=True,
            )
        parts = [
            _deliver(place, one, lambda: advance(plan.rows, plan.rows))
            for place, one in zip(places, report.parts or (report,), strict=True)
        ]
        shutil.rmtree(run.outgoing, ignore_errors=True)
    return replace(report, url=form.store, parts=tuple(parts)) if report.parts else parts[0]


def _refuse(run: RunDir, places: list[ResultPlace]) -> None:
    """Raises RunError where somebody else's object is in the place of a result, before it is made."""
    for place in places:
        with _asking(run):
            tell = objection_to_folder if place.is_folder else objection
            if found := tell(place.url, place.record.own if place.record else ()):
                raise RunError(found)


def _deliver(place: ResultPlace, report: GatherReport, tick: Tick) -> GatherReport:
    """Puts a result that was made into its store; returns the report of that."""
    with _asking(place.run):
        if not report.complete and _is_complete(place):
            raise IncompleteError(f"{place.url}: is complete, and stays; for a result of the rest move that away first")
        files = _files(place)
        if place.is_folder or not (place.delivered and place.url in place.delivered.own):
            _note_names(place, files)
        if place.is_folder:
            remove([url for url, path in files.items() if path.name == RESULT])
        with telling(f"writing {place.url}"):
            sent = [send(path, url, tick) for url, path in files.items()]
    record = Delivered(place.url, report.seal or "", tuple(sent), format=place.format, elsewhere=_elsewhere(place))
    _remove_replaced(place.delivered, record)
    record.write(place.run, place.part.name)
    return replace(report, url=place.url)


def _is_complete(place: ResultPlace) -> bool:
    if place.is_folder:
        return bool(place.delivered and place.delivered.seal)
    return holds_complete(place.url)


def _files(place: ResultPlace) -> dict[str, Path]:
    """What becomes of which file; the last one says that all are there."""
    if place.is_folder:
        found = sorted((path for path in place.path.rglob("*") if path.is_file()), key=lambda path: path.name == RESULT)
        return {f"{place.url}/{path.relative_to(place.path)}": path for path in found}
    folder = place.url.rpartition("/")[0]
    paths = [*(located(file.path) for file in read_index(place.path)), place.path]
    return {f"{folder}/{path.name}": path for path in paths}


def _note_names(place: ResultPlace, files: Mapping[str, Path]) -> None:
    """Notes what is to be there, so that it is known as the run's own; from here on nothing says that all of it is."""
    known = {file.url: file for file in place.delivered.files} if place.delivered else {}
    known |= {url: SentFile(url, path.stat().st_size, "") for url, path in files.items()}
    noted = Delivered(place.url, "", tuple(known.values()), format=place.format, elsewhere=_elsewhere(place))
    noted.write(place.run, place.part.name)


def _elsewhere(place: ResultPlace) -> tuple[str, ...]:
    """URLs of what the run has where its result was wanted before: it stays there, and may be wanted there again."""
    if place.record is None:
        return ()
    return place.record.elsewhere if place.delivered else tuple(sorted(place.record.own))


def _remove_replaced(before: Delivered | None, now: Delivered) -> None:
    """Removes the files of the result before that this one has no more; who may not do that leaves them."""
    named = {file.url for file in now.files}
    try:
        remove([file.url for file in before.files if file.url not in named] if before else [])
    except OSError as error:
        print(f"{explained(error)}; files of the result before stay there", file=sys.stderr, flush=True)


@contextmanager
def _asking(run: RunDir) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{explained(error)}; what is computed is kept; the result goes there with: launcher gather {run.argument}"
        ) from error
