"""The command line of an array task: arguments -> Task -> exit code."""

import argparse
import os
import signal
import sys
from pathlib import Path

from jobs import exit_codes
from jobs.errors import BusyError, InputError, LauncherError
from jobs.machine import disk, lifeline
from jobs.node.supervisor import slurm_job
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
    parser.add_argument("index", type=int, nargs="?", help="array index (default: SLURM_ARRAY_TASK_ID)")
    parser.add_argument("--parent", type=int, help="pid of the starter: leave when it dies")
    options = parser.parse_args(arguments)
    if options.index is None:
        options.index = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    return options


def _run_group(options: argparse.Namespace, signals: Signals) -> int:
    run = RunDir(options.run.resolve())
    plan = Plan.read(run.plan)
    submission = Submission.read(run.submission(options.submission))
    if not 0 <= options.index < len(submission.groups):
        print(f"array index {options.index} has no shards in submission {submission.number}; nothing to do")
        return exit_codes.DONE
    group = submission.groups[options.index]
    shards = slurm_job.own_shards(group) if slurm_job.is_inside() else list(group)
    if not shards:
        return exit_codes.DONE
    if slurm_job.is_inside():
        slurm_job.open_log(run.log(shards[0]))
    if plan.job.folder:
        os.chdir(plan.job.folder)  # a Job's relative paths mean the same under every executor
    return _run_shards(Task(run, plan, submission, signals), plan, shards, run, group, signals)


def _run_shards(
    task: Task, plan: Plan, shards: list[int], run: RunDir, group: tuple[int, ...], signals: Signals
) -> int:
    failed = False
    try:
        for shard in shards:
            failed |= not task.run_shard(plan.shard(shard))
    except Stopped as stopped:
        task.finish()
        if signals.requeue and stopped.progress and slurm_job.is_inside():
            slurm_job.requeue(run, group)
        return exit_codes.STOPPED if stopped.progress or not signals.requeue else exit_codes.FAILED
    finally:
        task.finish()
    return exit_codes.FAILED if failed else exit_codes.DONE
