"""The finalize job: ``launcher.slurm_finalize RUN NUMBER...`` runs on a node when the arrays of these submissions have ended.

It learns from the attempts, and where they are silent from Slurm's accounting, why rows are not done, has retry.finalize
decide what is tried again or gathered, and submits that together with what was held back. Nothing stays on the login node.
"""

import argparse
import contextlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from jobs.errors import LauncherError
from jobs.machine import disk
from jobs.machine.process_identity import ProcessIdentity
from jobs.node.supervisor.slurm_job import requeue_self
from jobs.storage import checked_json
from jobs.storage.files import write_bytes
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from launcher.notify.announcement import announce
from launcher.runs.signs import touching
from launcher.runs.submissions import Outcome
from launcher.slurm import sbatch, scheduler
from launcher.slurm.calls import NoAnswer
from launcher.slurm.followers import leave_to_launcher
from launcher.slurm.successors import end_submissions, give_up, submit_waiting, tell, waiting_for
from launcher.submit.downstream import start_waiting

_SILENCE_SECONDS = 60.0
_Done = TypeVar("_Done")
_LATER = "tried again in some minutes: "


def main(arguments: Sequence[str]) -> int:
    """The finalize job's process; exit code 0: ended or goes on in other jobs."""
    parser = argparse.ArgumentParser(prog="python -m launcher.slurm_finalize", description="Ends Slurm submissions.")
    parser.add_argument("run", type=Path)
    parser.add_argument("numbers", type=int, nargs="+")
    options = parser.parse_args(arguments)
    run = RunDir(options.run)
    try:
        with _signed(run, options.numbers):
            started = _patiently(lambda: _finalize(run, options.numbers))
            _note(run, options.numbers[-1], None)
        _patiently(lambda: start_waiting(run, (NoAnswer, sbatch.LimitReached)))
    except sbatch.LimitReached as error:
        return _try_later(run, options.numbers, str(error))
    except Exception as error:  # the process boundary
        return _failed(run, options.numbers, error)
    # The run goes on, and the mail comes with its end.
    if any(not submission.resources.attended for submission in started):
        with contextlib.suppress(LauncherError):
            scheduler.send_no_mail()
    for submission in started:
        print(f"submission {submission.number}: Slurm job {', '.join(submission.job_ids) or 'held back'}", flush=True)
    announce(run)
    outcomes = [Outcome.read(run, number) for number in options.numbers]
    return int(not started and any(outcome and outcome.error for outcome in outcomes))


def _try_later(run: RunDir, numbers: Sequence[int], why: str) -> int:
    with contextlib.suppress(OSError):  # the log may be what cannot be written
        print(f"{why}; trying again later", flush=True)
    with contextlib.suppress(OSError, LauncherError):
        _note(run, numbers[-1], why)
    if requeue_self():
        return 0
    with contextlib.suppress(OSError):
        _note(run, numbers[-1], None)
        _leave(run, numbers, f"{why}; and Slurm does not let the finalize job try again later")
    announce(run)
    return 1


def _note(run: RunDir, number: int, why: str | None) -> None:
    """Lets status tell what keeps it from going on; None: nothing does any more."""
    if outcome := Outcome.read(run, number):
        others = tuple(note for note in outcome.notes if not note.startswith(_LATER))
        noted = replace(outcome, notes=(*others, f"{_LATER}{why}") if why else others)
        if noted != outcome:
            noted.write(run, number)


def _leave(run: RunDir, numbers: Sequence[int], why: str) -> None:
    """To a launcher on the login node, where there are attempts that it can submit."""
    waiting = waiting_for(run, numbers[0])
    if not all(Outcome.read(run, number) for number in numbers):
        give_up(run, numbers, why)
    elif waiting:
        leave_to_launcher(run, waiting)
        tell(run, numbers[-1], f"{why}: on the login node, `launcher run {run.argument}` does")
    else:  # it is a run after this one that cannot be submitted, and that one's status says so: this one has ended well
        print(why, flush=True)


@contextmanager
def _signed(run: RunDir, numbers: Sequence[int]) -> Iterator[None]:
    """While it is open, the submissions show that this process is at them: status tells without Slurm when it was killed."""
    paths = [run.ending(number) for number in numbers]
    for path in paths:
        write_bytes(path, checked_json.encode(ProcessIdentity.current().to_json()))
    try:
        with touching(paths):
            yield
    finally:
        for path in paths:  # it may go on later, as another process
            path.unlink(missing_ok=True)


def _failed(run: RunDir, numbers: Sequence[int], error: Exception) -> int:
    """Tells whoever follows the run; what a disk takes no more may be taken later."""
    if isinstance(error, OSError) and disk.is_failing(error):
        return _try_later(run, numbers, disk.describe(error, run.path))
    is_expected = isinstance(error, LauncherError)
    print(error if is_expected else "".join(traceback.format_exception(error)), file=sys.stderr, flush=True)
    give_up(run, numbers, str(error) if is_expected else f"{type(error).__name__}: {error}")
    announce(run)
    return 1


def _finalize(run: RunDir, numbers: Sequence[int]) -> list[Submission]:
    end_submissions(run, numbers)
    return submit_waiting(run, waiting_for(run, numbers[0]))


def _patiently(act: Callable[[], _Done]) -> _Done:
    """While Slurm is silent (an upgrade may take an hour) it waits: nobody else would go on with the run."""
    while True:
        try:
            return act()
        except NoAnswer as error:
            print(f"{error}; waiting for Slurm", flush=True)
            time.sleep(_SILENCE_SECONDS)
