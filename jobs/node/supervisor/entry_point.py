"""The command line of an array task: arguments -> Task -> exit code."""

import argparse
import os
import signal
import sys
from pathlib import Path

from jobs import exit_codes
from jobs.errors import BusyError, InputError, LauncherError
from jobs.machine import allocation, disk, lifeline
from jobs.node.supervisor.signals import Signals
from jobs.node.supervisor.task import Stopped, Task
from jobs.storage.plans import Plan, Submission
from jobs.storage.rundir import RunDir


def run(arguments: list[str]) -> int:
    """Runs the task; returns its exit code."""
    options = _parse(arguments)
    if options.parent:
        lifeline.bind(options.parent, signal.SIGTERM)
    signals = Signals()
    try:
        return _run_group(options, signals)
    except BusyError as error:
        print(error, file=sys.stderr)
        return exit_codes.STOPPED
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


def _run_group(options: argparse.Namespace, signals: Signals) -> int:
    run = RunDir(options.run.resolve())
    plan = Plan.read(run.plan)
    submission = Submission.read(run.submission(options.submission))
    if not 0 <= options.index < len(submission.groups):
        print(f"array index {options.index} has no shards in submission {submission.number}; nothing to do")
        return exit_codes.DONE
    group = submission.groups[options.index]
    number, ranks = allocation.rank()
    shards = list(group[number::ranks])  # every R-th where R nodes share the group
    if not shards:
        return exit_codes.DONE
    if allocation.is_inside():
        _open_log(run.log(shards[0]))
    if plan.job.folder:
        os.chdir(plan.job.folder)  # a Job's relative paths mean the same under every executor
    return _run_shards(Task(run, plan, submission, signals), plan, shards, run, group, signals)


def _open_log(path: Path) -> None:
    """Sends stdout and stderr, also of all children, to the end of a shard's log."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _run_shards(
    task: Task, plan: Plan, shards: list[int], run: RunDir, group: tuple[int, ...], signals: Signals
) -> int:
    failed = False
    try:
        for shard in shards:
            failed |= not task.run_shard(plan.shard(shard))
    except Stopped as stopped:
        task.finish()
        if signals.requeue and stopped.progress and allocation.is_inside():
            from jobs.node.supervisor.slurm_job import requeue

            requeue(run, group)
        return exit_codes.STOPPED if stopped.progress or not signals.requeue else exit_codes.FAILED
    finally:
        task.finish()
    return exit_codes.FAILED if failed else exit_codes.DONE
