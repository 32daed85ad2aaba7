"""Result: the result of a run, written because somebody asks for it; what waits for a complete run is started then."""

import contextlib
import sys
from typing import TYPE_CHECKING

from jobs.errors import IncompleteError
from jobs.storage.rundir import RunDir
from launcher.runs.find import reference
from launcher.runs.submissions import chosen_form, chosen_output, read_submissions

if TYPE_CHECKING:
    from jobs.gather.gather_report import GatherReport


def gather_result(run: RunDir, *, allow_missing: bool = False) -> "GatherReport":
    """Errors as in gather. What a Job that folds its results prints goes to stderr."""
    from launcher.delivery.destination import write_result
    from launcher.submit.downstream import start_waiting

    with contextlib.redirect_stdout(sys.stderr):
        submissions = read_submissions(run)
        output, form = chosen_output(submissions), chosen_form(submissions)
        try:
            report = write_result(run, allow_missing=allow_missing, output=output, form=form, with_new_code=True)
        except IncompleteError as error:
            if submissions and submissions[-1].is_open:
                error.add_note(
                    f"the run goes on, and writes its result itself: launcher status {reference(run)} --watch"
                )
            raise
        if report.complete:
            start_waiting(run)
    return report
