"""The finalize job: ``launcher.slurm_finalize RUN NUMBER...`` runs on a node when the arrays of these submissions have ended.

It learns from the attempts, and where they are silent from Slurm's accounting, why rows are not done, has retry.finalize
decide what is tried again or gathered, and submits that together with what was held back. Nothing stays on the login node.
"""

import argparse
import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jobs.errors import InputError, LauncherError
from jobs.machine import disk
from jobs.machine.process_identity import ProcessIdentity
from jobs.node.supervisor.slurm_job import requeue_self
from jobs.storage import checked_json
from jobs.storage.files import write_bytes
from jobs.storage.plans import Plan, Submission
from jobs.storage.rundir import RunDir
from launcher.config.settings import retry_settings
from launcher.notify.announcement import announce
from launcher.retry.finalize import finalize
from launcher.runs.submissions import HEARTBEAT, Outcome, SubmissionState, read_submissions, update, withdraw
from launcher.slurm import scheduler
from launcher.slurm.calls import NoAnswer
from launcher.slurm.element_failures import find_failures
from launcher.slurm.handover import follower_of, hand_over, submission_config
from launcher.slurm.slurm_executor import SlurmExecutor
from launcher.slurm.terms import SbatchTerms

_SILENCE_SECONDS = 60.0


def finalize_submissions(run: RunDir, numbers: Sequence[int]) -> list[Submission]:
    """Ends the submissions and starts what follows; returns the submissions started."""
    plan = Plan.read(run.plan)
    ended = [Submission.read(run.submission(number)) for number in numbers]
    open_numbers = {known.number for known in read_submissions(run) if known.outcome is None}
    to_end = [submission for submission in ended if submission.number in open_numbers]
    for submission in to_end:
        asked, is_last = SbatchTerms(submission_config(run, submission), submission), submission is to_end[-1]
        ending = find_failures(run, plan, submission, asked.terms.time)
        finalize(run, plan, submission, ending, asked, retry_settings(submission.resources), gathers=is_last)
    waiting = [known.submission for known in read_submissions(run) if waits_for(known, numbers[0])]
    return _submit(run, waiting) if waiting else []


def _submit(run: RunDir, waiting: Sequence[Submission]) -> list[Submission]:
    """Hands submissions over; without avoiding failed nodes where Slurm refuses that, since there are no others."""
    try:
        return hand_over(run, waiting)
    except InputError as error:
        relaxed = [_with_all_nodes(run, submission) for submission in waiting]
        if relaxed == waiting:
            raise
        print(f"{error}\ntrying again on nodes that failed before", flush=True)
        return hand_over(run, relaxed)


def _with_all_nodes(run: RunDir, submission: Submission) -> Submission:
    options = {name: value for name, value in submission.resources.options.items() if name != "exclude"}
    if options == submission.resources.options:
        return submission
    return update(run, submission, resources=replace(submission.resources, options=options))


def waits_for(known: SubmissionState, number: int) -> bool:
    """Whether a submission is to be submitted by the finalize job of that number: held back, or another attempt."""
    submission = known.submission
    if known.outcome or submission.planned or submission.process or submission.executor != SlurmExecutor.name:
        return False
    return follower_of(submission) == number


def main(arguments: Sequence[str]) -> int:
    """The finalize job's process; exit code 0: ended or goes on in other jobs."""
    parser = argparse.ArgumentParser(prog="python -m launcher.slurm_finalize", description="Ends Slurm submissions.")
    parser.add_argument("run", type=Path)
    parser.add_argument("numbers", type=int, nargs="+")
    options = parser.parse_args(arguments)
    run = RunDir(options.run)
    try:
        with _Sign(run, options.numbers):
            started = _finalize_patiently(run, options.numbers)
    except scheduler.LimitReached as error:
        return _try_later(run, options.numbers, str(error))
    except Exception as error:  # the process boundary: whoever follows the run is told
        if isinstance(error, OSError) and disk.is_failing(error):
            return _try_later(run, options.numbers, disk.describe(error, run.path))
        is_expected = isinstance(error, LauncherError)
        print(error if is_expected else traceback.format_exc(), file=sys.stderr, flush=True)
        _give_up(run, options.numbers, str(error) if is_expected else f"{type(error).__name__}: {error}")
        announce(run)
        return 1
    if started:  # the run goes on, and the mail comes with its end
        with contextlib.suppress(LauncherError):
            scheduler.send_no_mail()
    for submission in started:
        print(f"submission {submission.number}: Slurm job {', '.join(submission.job_ids) or 'held back'}", flush=True)
    announce(run)
    return 0


def _try_later(run: RunDir, numbers: Sequence[int], why: str) -> int:
    with contextlib.suppress(OSError):  # the log may be what cannot be written
        print(f"{why}; trying again later", flush=True)
    if requeue_self():
        return 0
    with contextlib.suppress(OSError):
        _give_up(run, numbers, f"{why}; and Slurm does not let the finalize job try again later")
    announce(run)
    return 1


def _give_up(run: RunDir, numbers: Sequence[int], why: str) -> None:
    """Records that nothing follows: attempts that Slurm never got are withdrawn, and their shards stay as they ended."""
    for known in read_submissions(run):
        if waits_for(known, numbers[0]) and not known.submission.job_ids:
            run.script(known.number).unlink(missing_ok=True)
            withdraw(run, known.number)
    for number in numbers:
        outcome = Outcome.read(run, number) or Outcome(time.time())
        replace(outcome, error=why).write(run, number)


class _Sign:
    """While it is open, the submissions show that this process is at them: status tells without Slurm when it was killed."""

    def __init__(self, run: RunDir, numbers: Sequence[int]) -> None:
        self._run, self._numbers = run, numbers
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._touch, daemon=True)

    def __enter__(self) -> None:
        for number in self._numbers:
            write_bytes(self._run.ending(number), checked_json.encode(ProcessIdentity.current().to_json()))
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()
        for number in self._numbers:  # it may go on later, as another process
            self._run.ending(number).unlink(missing_ok=True)

    def _touch(self) -> None:
        while not self._closed.wait(HEARTBEAT):
            for number in self._numbers:
                with contextlib.suppress(OSError):
                    os.utime(self._run.ending(number))


def _finalize_patiently(run: RunDir, numbers: Sequence[int]) -> list[Submission]:
    """While Slurm is silent (an upgrade may take an hour) it waits: nobody else would go on with the run."""
    while True:
        try:
            return finalize_submissions(run, numbers)
        except NoAnswer as error:
            print(f"{error}; waiting for Slurm", flush=True)
            time.sleep(_SILENCE_SECONDS)
