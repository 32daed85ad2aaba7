"""The local executor: array tasks as processes of this machine, each submission in the hands of a LocalProcess.

It is asked by `status`, so it imports nothing that takes a while.
"""

import atexit
import glob
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import InputError, RunError
from jobs.kinds import AnyFailureKind, FailureKind
from jobs.machine.devices import process_devices, too_few_gpus, usable_cpus, usable_gpus, visible_gpus
from jobs.machine.process_identity import ProcessIdentity
from jobs.plural import counted
from jobs.storage.files import open_at_end
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Resources, Submission
from launcher.config.settings import node_settings
from launcher.executors import EXECUTORS, Executor, Finding, Limits, Observation, Scripts, choose_executor
from launcher.runs.logs import last_words
from launcher.runs.submissions import may_run

if TYPE_CHECKING:
    from launcher.config.config import Config

_GPU_FILES = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/dxg")
_START_SECONDS = 60.0
# More than an array task takes at worst: see array.py.
_STOP_SECONDS = 60.0
_left_running: list[subprocess.Popen[bytes]] = []


@atexit.register
def _let_go() -> None:
    """They outlive the program that started them: it need not wait for them, and Python need not warn of that."""
    for process in _left_running:
        process.returncode = process.poll() or 0


class LocalExecutor(Executor):
    """Runs array tasks here, as many at a time as ``local.parallelism`` says."""

    name = "local"
    title = "this machine"
    stops_with_launcher = True
    has_limits = False
    is_polled = False
    # There are no limits to raise. It holds for samples, too: their kind of this name equals that of shards.
    advice: Mapping[AnyFailureKind, str] = {
        FailureKind.OUT_OF_MEMORY: "let it use less memory: {rerun} --set node.processes=1 --set node.workers=1 "
        "--set local.parallelism=1",
    }
    scripts: Scripts | None = None

    def check(self, config: "Config") -> None:
        here = visible_gpus()
        asked = {device for device in _devices(config) if device.startswith("cuda")}
        missing = sorted(device for device in asked if int(device.partition(":")[2]) >= here)
        # Drivers that tell nothing of their GPUs (ROCm, WSL) leave it to torch to find them.
        if missing and (here or not any(glob.glob(pattern) for pattern in _GPU_FILES)):
            devices = ", ".join(["cpu", *(f"cuda:{number}" for number in range(here))])
            raise InputError(
                f"{config.path}: node.devices: {', '.join(missing)}: this machine shows {counted(here, 'GPU')}, and "
                f"executor is local; valid here: auto, {devices}"
            )

    def prepare(self, config: "Config") -> None:
        pass

    def tasks(self, config: "Config", shards: int) -> int:
        return max(1, min(shards, _parallelism(config)))

    def resources(self, config: "Config") -> Resources:
        return Resources(parallelism=_parallelism(config))

    def describe(self, config: "Config") -> list[str]:
        devices = ", ".join(_devices(config))
        tasks = _parallelism(config)
        return [
            f"array task: {counted(_cpus_per_task(config), 'CPU')} (processes x workers), on {devices}",
            f"limits: {counted(usable_cpus(), 'usable CPU')} and {counted(visible_gpus(), 'GPU')} here, so "
            f"{counted(tasks, 'array task')} at a time",
        ]

    def remarks(self, config: "Config") -> list[str]:
        return []

    def examine(self, config: "Config") -> Sequence[Finding]:
        try:
            self.check(config)
        except InputError as error:
            return [Finding("devices", "", lacks=str(error), is_needed=True)]
        return [Finding(name, text) for name, _, text in (line.partition(": ") for line in self.describe(config))]

    def limits(self, config: "Config", room: int) -> Limits:
        asked = config.local.parallelism
        return Limits(at_a_time=room if asked == "auto" else asked)

    def visible_gpus(self, config: "Config", here: int) -> int | None:
        return None

    def limit_overrides(self, memory: str | None, time: str | None) -> list[str]:
        if memory or time:
            others = " or ".join(choose_executor(name).title for name in EXECUTORS if name != self.name)
            raise InputError(
                f"--mem and --time are for {others}; this run is local, where array tasks have no such limits"
            )
        return []

    def start(self, run: RunDir, submissions: Sequence[Submission], *, attached: bool) -> list[Submission]:
        started = []
        for submission in submissions:
            command = [sys.executable, "-P", "-m", "launcher.local", str(run.path.absolute()), str(submission.number)]
            if attached:
                command += ["--parent", str(os.getpid())]
            log = run.submission_log(submission.number)
            with open_at_end(log) as output:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            _left_running.append(process)
            started.append(_await_owner(run, submission.number, process, log))
        return started

    def place(self, submission: Submission) -> str:
        return f"process {submission.process['pid']}" if submission.process else self.name

    def recover(self, run: RunDir, submissions: Sequence[Submission]) -> set[int]:
        return {submission.number for submission in submissions if may_run(run, submission)}

    def observe(self, run: RunDir, submissions: Sequence[Submission]) -> Observation:
        return Observation(frozenset(self.recover(run, submissions)))

    def queue_advice(self, reason: str) -> str | None:
        return None  # it has no queue

    def cancel(self, run: RunDir, submission: Submission) -> bool:
        if submission.process is None or not may_run(run, submission):
            return False
        owner = ProcessIdentity.from_json(submission.process)
        if not owner.is_here:
            raise RunError(f"{run.path}: runs on {owner.host}, or in a container there; cancel it where it was started")
        try:
            owner.send(signal.SIGTERM)
        except PermissionError:
            who = submission.owner or "another user"
            raise RunError(f"{run.path}: process {owner.pid} is {who}'s, and only {who} can cancel it") from None
        if not owner.wait(_STOP_SECONDS):
            raise RunError(f"{run.path}: process {owner.pid} has not ended within {_STOP_SECONDS:.0f} s")
        return True


def _devices(config: "Config") -> tuple[str, ...]:
    settings = node_settings(config)
    usable = usable_gpus(settings)
    if problem := too_few_gpus(settings, usable):
        raise InputError(problem)
    return process_devices(settings, usable)


def _cpus_per_task(config: "Config") -> int:
    return len(_devices(config)) * config.node.cpus_per_process


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
