"""The local executor: array tasks as processes of this machine.

A submission is run by an executor process of its own, ``python -m launcher.local RUN NUMBER``: it runs the array tasks,
retries, gathers and writes the outcome, and needs no config. It lives on without the launcher, unless it is attached.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import exit_codes
from jobs.errors import RunError
from jobs.machine import lifeline
from jobs.machine.devices import process_devices, usable_cpus, usable_gpus, visible_gpus
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.journal import replay
from jobs.storage.plans import Plan, Resources, Submission
from jobs.storage.rundir import RunDir
from launcher.config.settings import RetrySettings, node_settings
from launcher.local.array import LocalArray, StopRequests
from launcher.retry.finalize import Cancelled, Ending, WithoutLimits, finalize
from launcher.retry.policy import Terms
from launcher.runs.failures import Failure, from_exit_status
from launcher.runs.logs import last_words
from launcher.runs.submissions import HEARTBEAT, Outcome, may_run, update

if TYPE_CHECKING:
    from launcher.config.config import Config

_START_SECONDS = 60.0
# More than an array task takes at worst: see array.py.
_STOP_SECONDS = 60.0


class LocalExecutor:
    """Runs array tasks here, as many at a time as ``local.parallelism`` says."""

    name = "local"
    stops_with_launcher = True
    has_limits = False

    def prepare(self) -> None:
        pass

    def groups(self, config: "Config", shards: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        return tuple((shard,) for shard in sorted(shards))

    def resources(self, config: "Config") -> Resources:
        return Resources(parallelism=_parallelism(config))

    def describe(self, config: "Config") -> list[str]:
        devices = ", ".join(_devices(config))
        tasks = _parallelism(config)
        return [
            f"array task: {_cpus_per_task(config)} CPUs (processes x workers), on {devices}",
            f"limits: {usable_cpus()} usable CPUs and {visible_gpus()} GPUs here, so {tasks} array task(s) at a time",
        ]

    def largest_submission(self, config: "Config") -> int | None:
        return None

    def write(self, run: RunDir, submission: Submission) -> Path | None:
        return None

    def start(self, run: RunDir, submissions: Sequence[Submission], *, attached: bool) -> list[Submission]:
        return [self._start(run, submission, attached) for submission in submissions]

    def _start(self, run: RunDir, submission: Submission, attached: bool) -> Submission:
        command = [sys.executable, "-P", "-m", "launcher.local", str(run.path.absolute()), str(submission.number)]
        if attached:
            command += ["--parent", str(os.getpid())]
        log = run.submission_log(submission.number)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        return _await_owner(run, submission.number, process, log)

    def active(self, run: RunDir, submissions: Sequence[Submission]) -> set[int]:
        return {submission.number for submission in submissions if may_run(run, submission)}

    def cancel(self, run: RunDir, submission: Submission) -> bool:
        if submission.process is None or not may_run(run, submission):
            return False
        owner = ProcessIdentity.from_json(submission.process)
        if not owner.is_here:
            raise RunError(f"{run.path}: runs on {owner.host}; cancel it there")
        owner.send(signal.SIGTERM)
        if not owner.wait(_STOP_SECONDS):
            raise RunError(f"{run.path}: process {owner.pid} has not ended within {_STOP_SECONDS:.0f} s")
        return True


def _devices(config: "Config") -> tuple[str, ...]:
    settings = node_settings(config)
    return process_devices(settings, usable_gpus(settings))


def _cpus_per_task(config: "Config") -> int:
    return len(_devices(config)) * max(config.node.workers, 1)


def _parallelism(config: "Config") -> int:
    """As many tasks as the CPUs allow; one where it uses GPUs, since each task would take all of them."""
    if config.local.parallelism != "auto":
        return config.local.parallelism
    if any(device.startswith("cuda") for device in _devices(config)):
        return 1
    return max(1, usable_cpus() // _cpus_per_task(config))


def _await_owner(run: RunDir, number: int, process: subprocess.Popen[bytes], log: Path) -> Submission:
    """Waits until the executor process has taken the submission over, so that nobody believes it dead."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        submission = Submission.read(run.submission(number))
        if submission.process and submission.process["pid"] == process.pid:
            return submission
        if process.poll() is not None:
            raise RunError(f"the executor process ended at once (status {process.returncode}): {last_words(log)}")
        time.sleep(0.02)
    process.kill()
    raise RunError(f"the executor process did not start within {_START_SECONDS:.0f} s; see {log}")


class _Heart:
    """Touches the submission now and then, for launchers on other machines."""

    def __init__(self, path: Path, stop: StopRequests) -> None:
        self._path = path
        self._stop = stop
        self._beaten = time.monotonic()

    def beat_or_cancel(self) -> None:
        """Raises Cancelled where this process was told to stop."""
        self.beat()
        if self._stop.count:
            raise Cancelled("told to stop by a signal")

    def beat(self) -> None:
        if time.monotonic() - self._beaten > HEARTBEAT:
            self._beaten = time.monotonic()
            os.utime(self._path)


def run_submission(run: RunDir, number: int, stop: StopRequests) -> None:
    """Runs a submission and those that retry what failed in it, to the result or to where nothing more can be done."""
    plan = Plan.read(run.plan)
    waiting = [Submission.read(run.submission(number))]
    owner = ProcessIdentity.current().to_json()
    while waiting:
        submission = update(run, waiting.pop(0), process=owner)
        heart = _Heart(run.submission(submission.number), stop)
        array = LocalArray(run, submission, submission.resources.parallelism or 1, stop)
        statuses = array.run(heart.beat)
        ending = Ending({} if stop.count else _failures(run, submission, statuses), cancelled=stop.count > 0)
        asked, retry = WithoutLimits(Terms(submission.resources.attempt)), RetrySettings(submission.resources.attempts)
        waiting += finalize(run, plan, submission, ending, asked, retry, heart.beat_or_cancel)


def _failures(run: RunDir, submission: Submission, statuses: dict[int, int]) -> dict[int, Failure]:
    """Failures that the journals do not tell: of tasks that ended without writing why."""
    found = {}
    for index, status in statuses.items():
        shards = [shard for shard in submission.groups[index] if not run.shard_done(shard).exists()]
        for shard in shards if status != exit_codes.STOPPED else ():
            last = replay(run.journal(shard)).last
            if last is None or last.start.submission != submission.number or last.end is None:
                words = last_words(run.log(submission.groups[index][0]))
                found[shard] = from_exit_status(status, shard, words)
    return found


def main(arguments: Sequence[str]) -> int:
    """The executor process."""
    parser = argparse.ArgumentParser(prog="python -m launcher.local", description="Runs a local submission.")
    parser.add_argument("run", type=Path)
    parser.add_argument("number", type=int)
    parser.add_argument("--parent", type=int, help="stop when this process dies")
    options = parser.parse_args(arguments)
    stop = StopRequests()
    if options.parent:
        lifeline.bind(options.parent, signal.SIGTERM)
    run = RunDir(options.run)
    try:
        run_submission(run, options.number, stop)
    except Exception as error:  # the process boundary: whoever follows the run is told
        traceback.print_exc()
        number = run.submission_numbers()[-1]
        Outcome(time.time(), error=f"{type(error).__name__}: {error}; see {run.submission_log(options.number)}").write(
            run, number
        )
        return 1
    return 0
