"""LocalProcess: the process that runs a local submission, ``python -m launcher.local RUN NUMBER``.

It runs the array tasks, retries, gathers and writes the outcome, and needs no config. It lives on without the launcher,
unless it is attached.
"""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from jobs import exit_codes
from jobs.errors import LauncherError
from jobs.machine import descendants, lifeline
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.attempts import Attempts
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from launcher.config.settings import retry_settings
from launcher.local.array import LauncherDied, LocalArray, StopRequests
from launcher.notify.announcement import announce
from launcher.retry.finalize import Cancelled, Ending, WithoutLimits, finalize
from launcher.retry.policy import Terms
from launcher.runs.failures import Failure, from_exit_status
from launcher.runs.logs import last_words
from launcher.runs.signs import HEARTBEAT
from launcher.runs.submissions import Outcome, update
from launcher.submit.downstream import start_waiting


class _Heart:
    """Touches the submission now and then, for launchers on other machines."""

    def __init__(self, path: Path, stop: StopRequests) -> None:
        self._path = path
        self._stop = stop
        self._beaten = time.monotonic()

    def beat_or_stop(self) -> None:
        """Raises Cancelled, or LauncherDied, where this process has to stop."""
        self.beat()
        self._stop.refuse_without_launcher()
        if self._stop.count:
            raise Cancelled("told to stop by a signal")

    def beat(self) -> None:
        if time.monotonic() - self._beaten > HEARTBEAT:
            self._beaten = time.monotonic()
            os.utime(self._path)


def run_submissions(run: RunDir, waiting: list[int], stop: StopRequests) -> None:
    """Runs submissions and those that retry what failed in them, to the result or to where nothing more can be done.

    ``waiting`` are the numbers of those that have not ended; the first one is in work. Raises LauncherDied.
    """
    plan = Plan.read(run.plan)
    owner = ProcessIdentity.current().to_json()
    while waiting:
        submission = update(run, Submission.read(run.submission(waiting[0])), process=owner)
        heart = _Heart(run.submission(submission.number), stop)
        array = LocalArray(run, submission, submission.resources.parallelism or 1, stop)
        statuses = array.run(heart.beat)
        stop.refuse_without_launcher()
        failures = {} if stop.count else failures_of(run, submission, statuses, array.killed_by_kernel)
        ending = Ending(failures, cancelled=stop.count > 0)
        asked, retry = WithoutLimits(Terms(submission.resources.attempt)), retry_settings(submission.resources)
        successors = finalize(run, plan, submission, ending, asked, retry, heart.beat_or_stop)
        waiting[:1] = [made.number for made in successors]


def failures_of(
    run: RunDir, submission: Submission, statuses: Mapping[int, int], killed_by_kernel: Collection[int] = ()
) -> dict[int, Failure]:
    """By array index, why tasks ended whose attempts do not tell."""
    attempts = Attempts(run, submission.number).read()
    told = {attempt.start.index for attempt in attempts if attempt.start and attempt.is_over}
    return {
        index: from_exit_status(
            status, -1, last_words(run.log(submission.number, index)), by_kernel=index in killed_by_kernel
        )
        for index, status in statuses.items()
        if index not in told and status != exit_codes.STOPPED
    }


def main(arguments: Sequence[str]) -> int:
    """The executor process."""
    parser = argparse.ArgumentParser(prog="python -m launcher.local", description="Runs a local submission.")
    parser.add_argument("run", type=Path)
    parser.add_argument("number", type=int)
    parser.add_argument("--parent", type=int, help="stop when this process dies")
    options = parser.parse_args(arguments)
    stop = StopRequests(options.parent)
    if options.parent:
        lifeline.bind(options.parent, StopRequests.LAUNCHER_DIED)
    descendants.adopt()
    run, waiting = RunDir(options.run), [options.number]
    try:
        run_submissions(run, waiting, stop)
    except Exception as error:  # the process boundary: whoever follows the run is told
        message = f"{error}"
        if not isinstance(error, (LauncherError, OSError)):
            traceback.print_exc()
            message = f"{type(error).__name__}: {error}; see {run.submission_log(options.number)}"
        print(message, file=sys.stderr)
        code = _end(run, waiting, message, orphaned=isinstance(error, LauncherDied))
    else:
        code = 0
    announce(run)
    start_waiting(run)
    return code


def _end(run: RunDir, waiting: Iterable[int], message: str, *, orphaned: bool) -> int:
    """Says why submissions ended; returns the exit code. Where not even that can be written, the exit code alone tells."""
    try:
        for number in waiting:
            Outcome(time.time(), error=message, orphaned=orphaned).write(run, number)
    except OSError as error:
        print(f"cannot say so in the run directory: {error}", file=sys.stderr)
        return exit_codes.NO_DISK
    return exit_codes.FAILED
