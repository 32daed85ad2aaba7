"""Follow: submits what is not done, and stays until the result is there; local array tasks leave when it does."""

from collections.abc import Callable

from jobs.errors import RunError
from jobs.kinds import RunState
from jobs.machine import streams
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.rundir import RunDir
from launcher.config.config import Config
from launcher.executors import choose_executor
from launcher.interrupts import Interrupts
from launcher.notify.dispatch import SECONDS
from launcher.plan.plan import Planned
from launcher.runs.find import reference
from launcher.runs.submissions import read_submissions
from launcher.status.reader import StatusReader
from launcher.status.status import Status
from launcher.status.views import View, follow
from launcher.submit.attend import attend, how_to_go_on
from launcher.submit.cancel import cancel_run
from launcher.submit.downstream import start_overlapping, start_waiting
from launcher.submit.result import want
from launcher.submit.submit import nothing_to_do, select_rows, submit


def run_to_end(
    planned: Planned, config: Config, view: View, say: Callable[[str], None], *, once: bool = False
) -> Status:
    """Submits what is not done and follows until the result is there or nothing more can be done.

    ``once``: submits a run that never was, and does not stay; what has failed for good waits for a person.

    At Ctrl-C, SIGTERM or SIGHUP it stops the array tasks in good order, at the second one at once, says how to go on, and
    raises KeyboardInterrupt. Array tasks of a scheduler go on.
    """
    run, plan = planned.run, planned.plan
    reader = StatusReader(run)
    if once and any(not known.submission.planned for known in read_submissions(run)):
        return reader.read()
    selection = select_rows(run, plan)
    if selection.running:
        raise RunError(nothing_to_do(run, selection))
    if not selection.rows:
        return _gathered(run, reader, config)
    with Interrupts() as interrupts:
        try:
            made = submit(run, config, selection, attached=True)
            with streams.kept_clear():
                start_overlapping(run)
            if not any(one.resources.attended for one in made):
                status = reader.read() if once else follow(reader, view, live=True)
                if config.notify and choose_executor(config.executor).stops_with_launcher:
                    status = _told(status, reader)
                return status
        except KeyboardInterrupt:
            if choose_executor(config.executor).stops_with_launcher:
                say("stopping the array tasks; Ctrl-C again stops them at once")
                _stop(run, interrupts)
                say(f"what is done is kept; to go on: launcher run {reference(run)}")
            elif any(known.submission.resources.attended for known in read_submissions(run)):
                say(how_to_go_on(run))
            else:
                name = reference(run)
                say(f"the run goes on; follow it: launcher status {name} --watch, stop it: launcher cancel {name}")
            raise
    return attend(run, view, say, once=once)


def _told(status: Status, reader: StatusReader) -> Status:
    """The process that has ended the run tells of that: where a batch job of ours is all that holds it, it needs our time."""
    process = status.submissions[-1].submission.process
    if process is not None:
        ProcessIdentity.from_json(process).wait(2 * SECONDS)
    return reader.read()


def _gathered(run: RunDir, reader: StatusReader, config: Config) -> Status:
    """Every shard is done: writes the result, if that is missing or older."""
    want(run, config)
    status = reader.read()
    if status.state is RunState.COMPLETE:
        return status
    from launcher.delivery.destination import write_result

    with streams.kept_clear():  # what a Job that folds its results prints
        write_result(run, output=config.output_path, form=config.result_form)
        start_waiting(run)
    return reader.read()


def _stop(run: RunDir, interrupts: Interrupts) -> None:
    """Cancels what this launcher started; another Ctrl-C asks again, which ends the array tasks at once."""
    while any(known.is_open for known in read_submissions(run)):
        try:
            with interrupts.raised():
                cancel_run(run)
        except KeyboardInterrupt:
            continue
