"""Result: the result of a run, written because somebody asks for it; what waits for a complete run is started then.

Where it is, the newest submission says. A run that is done, with a config that wants it elsewhere, submits nothing more: what
that submission says is changed then.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.errors import IncompleteError, InputError
from jobs.machine import streams
from jobs.storage.files import exists
from jobs.storage.rundir import RunDir
from launcher.config.config import Config
from launcher.config.settings import result_settings
from launcher.runs.find import reference
from launcher.runs.submissions import chosen_form, chosen_output, read_submissions, update

if TYPE_CHECKING:
    from jobs.gather.gather_report import GatherReport


def is_wanted_elsewhere(run: RunDir, config: Config) -> bool:
    """Whether the config wants the result of a run in another place, or by another program, than its newest submission."""
    if not (known := read_submissions(run)):
        return False
    asked = known[-1].submission.resources
    wanted = result_settings(config)
    return any(getattr(asked, name) != wanted[name] for name in ("output", "store", "format"))


def want(run: RunDir, config: Config) -> None:
    """From here on the result of a run that is done is to be where the config says, and as it says."""
    if not is_wanted_elsewhere(run, config):
        return
    if exists(run.cleaned):
        raise InputError(
            f"{run.path}: was cleaned (launcher clean), so its result is all that there is of it, and stays where it is: copy "
            "it, and leave output.path as it was"
        )
    newest = read_submissions(run)[-1].submission
    section = {**(newest.resources.config or {}), "output": config.to_mapping()["output"]}
    update(run, newest, resources=replace(newest.resources, **result_settings(config), config=section))


def gather_result(run: RunDir, *, allow_missing: bool = False) -> "GatherReport":
    """Errors as in gather. What a Job that folds its results prints goes to stderr."""
    from launcher.delivery.destination import write_result
    from launcher.submit.downstream import start_waiting

    with streams.kept_clear():
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
