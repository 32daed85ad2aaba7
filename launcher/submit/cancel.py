"""Cancel: stops everything of a run that goes on; what is done stays and can be resumed."""

import time

from jobs.errors import RunError
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.executors import choose_executor
from launcher.runs.downstream import forget
from launcher.runs.find import reference
from launcher.runs.submissions import Outcome, read_submissions

# A submission that ends may just have been followed by another attempt at what failed in it.
_ROUNDS = 3


def stop_run(run: RunDir) -> tuple[list[int], list[RunDir]]:
    """As cancel_run; a run that waits for others waits no more. Returns also for which it did."""
    waited = forget(run, Plan.read(run.plan))  # first: what it waits for may end now
    return cancel_run(run), waited


def cancel_run(run: RunDir) -> list[int]:
    """Cancels all submissions that go on and waits for their end; returns their numbers. Raises RunError as executors do."""
    cancelled: list[int] = []
    for _ in range(_ROUNDS):
        known = read_submissions(run)
        stopped = []
        for one in reversed(known):
            waits = one.outcome is None and not one.is_copied and one.submission.is_left_to_launcher
            if not (one.may_go_on or waits):
                continue
            was_running = choose_executor(one.submission.executor).cancel(run, one.submission)
            # It gets an outcome also where its executor left none. One that nobody submitted stays as it was planned.
            if Outcome.read(run, one.number) is None and (was_running or not one.is_by_hand):
                Outcome(time.time(), cancelled=True).write(run, one.number)
            if was_running:
                stopped.append(one.number)
        cancelled += stopped
        if not stopped and not any(one.is_open for one in known):
            return cancelled
    raise RunError(f"{run.path}: new submissions were started meanwhile; run `launcher cancel {reference(run)}` again")
