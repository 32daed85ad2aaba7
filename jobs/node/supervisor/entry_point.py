"""The command line of an array task: arguments -> Task -> exit code.

What comes when others have done all learns that before it imports what work takes: numpy and pyarrow, of a file server that
many come to.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import exit_codes
from jobs.errors import InputError, LauncherError
from jobs.kinds import EndReason
from jobs.machine import allocation, descendants, disk, lifeline, open_files
from jobs.machine.imports import many_imports
from jobs.node.log import stamp_lines
from jobs.node.supervisor.attempt_start import new_name
from jobs.node.supervisor.claimer import Claimer
from jobs.node.supervisor.signals import Signals
from jobs.storage.claims import ClaimFolder
from jobs.storage.plans import OLD_FORMATS, Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission

if TYPE_CHECKING:
    from jobs.node.supervisor.task import Task

# Seconds before its time limit at which a task of an older version's submission is told to leave, at most.
_WARNING = 60
_CODES = {
    EndReason.DONE: exit_codes.DONE,
    EndReason.STOPPED: exit_codes.STOPPED,
    EndReason.FAILED: exit_codes.FAILED,
}


def run(arguments: list[str], signals: Signals) -> int:
    """Runs the task; returns its exit code."""
    options = _parse(arguments)
    stamp_lines()
    if options.parent:
        lifeline.bind(options.parent, signal.SIGTERM)
    descendants.adopt()
    open_files.allow_many()
    try:
        return _run_worker(options, signals)
    except LauncherError as error:
        print(error, file=sys.stderr)
        return exit_codes.BAD_INPUT if isinstance(error, InputError) else exit_codes.FAILED
    except OSError as error:
        if not disk.is_failing(error):
            raise
        disk.leave(error)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jobs", description="Runs one array task of a planned run.")
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("submission", type=int, help="number of the submission")
    parser.add_argument("index", type=int, nargs="?", help="array index (default: that of the scheduler's job)")
    parser.add_argument("--parent", type=int, help="pid of the starter: leave when it dies")
    options = parser.parse_args(arguments)
    if options.index is None:
        options.index = allocation.array_index()
    return options


def _run_worker(options: argparse.Namespace, signals: Signals) -> int:
    run = RunDir(options.run.resolve())
    plan = Plan.read(run.plan)
    submission = Submission.read(run.submission(options.submission))
    _refuse_others(run, plan, submission)
    if not 0 <= options.index < submission.tasks:
        print(f"array index {options.index} is none of submission {submission.number}; nothing to do")
        return exit_codes.DONE
    if not ClaimFolder(run.claims(submission.number)).is_open():
        print(f"submission {submission.number} has ended; nothing to do")
        return exit_codes.DONE
    rank, ranks = allocation.rank()
    worker = options.index * ranks + rank
    if allocation.is_inside():
        _open_log(run.log(submission.number, worker))
    if Claimer(run, plan, submission, worker, new_name(submission.number, worker)).is_too_late():
        print(f"submission {submission.number}: others have done all of it; nothing to do")
        if allocation.is_inside():
            _end_others(run, submission, signals)
        return exit_codes.DONE
    if plan.job.folder:
        _enter(plan.job.folder)
    return _work(run, plan, submission, options.index, worker, signals)


def _work(run: RunDir, plan: Plan, submission: Submission, index: int, worker: int, signals: Signals) -> int:
    with many_imports():
        from jobs.node.supervisor.task import Task

    warning = submission.resources.warning or max(_WARNING, submission.resources.grace)
    task = Task(run, plan, submission, index, worker, signals, lambda: _is_near_its_end(warning))
    try:
        reason = task.run()
    finally:
        task.finish()
        descendants.end(ask=False)  # of guardians that somebody killed
    if allocation.is_inside():
        _tell_slurm(task, reason, signals, run, submission, index)
    return _CODES[reason]


def _enter(folder: str) -> None:
    """A Job's relative paths mean the same under every executor."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise InputError(f"{folder}: the folder of the config cannot be entered here: {error.strerror}") from None


def _refuse_others(run: RunDir, plan: Plan, submission: Submission) -> None:
    """Raises InputError for a submission of another version, or of a plan that another one has taken the place of."""
    if submission.shards or plan.format in OLD_FORMATS:
        raise InputError(
            f"tasks of a submission by an older version (number {submission.number}) cannot be run by this one; "
            f"do: launcher rerun {run.argument}"
        )
    if not submission.is_of(plan):
        raise InputError(
            f"{run.path}: submission {submission.number} is of another plan than {run.plan.name} has now; "
            f"do: launcher rerun {run.argument}"
        )


def _is_near_its_end(warning: int) -> bool:
    from jobs.node.supervisor import slurm_job  # few tasks need it

    return slurm_job.is_near_its_end(warning)


def _open_log(path: Path) -> None:
    """Sends stdout and stderr, also of all children, to the end of the worker's log."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _tell_slurm(
    task: "Task", reason: EndReason, signals: Signals, run: RunDir, submission: Submission, index: int
) -> None:
    """Where not all is done and time was up, this array task goes on later."""
    from jobs.node.supervisor import slurm_job

    if slurm_job.has_ended_others(run, submission.number):
        return
    if task.is_all_done:
        _end_others(run, submission, signals)
    elif reason is EndReason.STOPPED and signals.requeue and submission.resources.requeue:
        slurm_job.requeue(run, submission, index)


def _end_others(run: RunDir, submission: Submission, signals: Signals) -> None:
    """All is done: what still waits need not start, and what stands still need not be waited for."""
    from jobs.node.supervisor import slurm_job

    slurm_job.cancel_waiting(run, submission.number)
    if submission.workers > 1:
        slurm_job.end_silent(run, submission.number, lambda: signals.stop)
