"""Exported: the result of a run in the format of another program, as a folder on its way to a store."""

import shutil
import time

from jobs.errors import IncompleteError
from jobs.gather.gather_report import GatherReport
from jobs.gather.gathering import Progress
from jobs.storage.submission import ResultForm
from launcher.export.export import FILE_BYTES, export
from launcher.results.results import Results
from launcher.results.stored_table import StoredTable
from launcher.runs.result_place import ResultPlace


def exported(place: ResultPlace, form: ResultForm, *, allow_missing: bool, progress: Progress) -> GatherReport:
    """Makes the folder at ``place.path``, of what attempts have stored, each block of which is hashed on the way.

    Raises IncompleteError where samples are missing and that is not allowed, DamageError where a block is not as it was
    committed.
    """
    started = time.monotonic()
    shutil.rmtree(place.path, ignore_errors=True)  # of one that was killed, or could not go there
    table = StoredTable(place.run.path, place.part.name)
    with Results(table) as found:
        if not (found.complete or allow_missing):
            raise IncompleteError(
                f"{found.shortfall}; `launcher gather --allow-missing` makes a result of what there is"
            )
        size = form.max_file_size or FILE_BYTES
        done = export(found, place.path, form.format, file_bytes=size, progress=progress)
        seal, seconds = table.stored.seal if found.complete else None, time.monotonic() - started
        return GatherReport.of(
            place.path, place.part, table.stored.survey, seal, size=done.bytes, files=done.files, seconds=seconds
        )
