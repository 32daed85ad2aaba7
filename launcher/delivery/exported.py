"""Exported: the result of a run in the format of another program, as a folder on its way to a store."""

import shutil
import time

import numpy as np

from jobs.errors import IncompleteError
from jobs.gather.gather_report import GatherReport
from jobs.gather.gathering import Progress
from jobs.gather.result_file import FAILED, MISSING, OK
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
        counts = np.bincount(found.status, minlength=3).tolist()
        return GatherReport(
            path=place.path,
            complete=found.complete,
            rows=done.rows,
            ok=counts[OK],
            failed=counts[FAILED],
            missing=counts[MISSING],
            bytes=done.bytes,
            damaged=(),
            seconds=time.monotonic() - started,
            name=place.part.name,
            seal=table.stored.seal if found.complete else None,
            files=done.files,
        )
