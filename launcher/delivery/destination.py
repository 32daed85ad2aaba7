"""Destination: where the result of a run is wanted: a file that gather makes, or objects of a store.

What only stores need is imported for them alone: most results are files.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from jobs.storage.rundir import RunDir
from jobs.storage.submission import ResultForm

if TYPE_CHECKING:
    from jobs.gather.gather_report import GatherReport
    from jobs.gather.gathering import Progress


def write_result(
    run: RunDir,
    *,
    output: Path | None,
    form: ResultForm,
    allow_missing: bool = False,
    progress: "Progress | None" = None,
    with_new_code: bool = False,
) -> "GatherReport":
    """Writes the result where it is wanted. Errors as in gather; RunError, too, where a store does not take it."""
    if form.store:
        from launcher.delivery.outgoing import send_result

        return send_result(run, form=form, allow_missing=allow_missing, progress=progress, with_new_code=with_new_code)
    from jobs.gather.gather import gather

    return gather(
        run, output=output, form=form, allow_missing=allow_missing, progress=progress, with_new_code=with_new_code
    )
