"""Scheduler: the only module that talks to Slurm (sbatch through submitit, squeue, sacct, scontrol, sacctmgr, scancel).

Used by the Slurm executor and by its finalize job. Every call has a time limit, and none is made in a loop over jobs: a
question about a whole run is one call. A controller that does not answer is waited for, two minutes long.
"""

import getpass
import os
import queue as queues
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import InputError, LauncherError, RunError
from launcher.slurm.parsers import (
    ACCOUNTED_FIELDS,
    is_passing,
    is_queue_full,
    is_submit_limit,
    read_accounting,
    read_submit_limit,
    said,
)
from launcher.slurm.parsers import Accounted as Accounted

_TIMEOUT = 60.0
# Of slurm.conf(5).
DEFAULT_ARRAY_SIZE = 1001
_DEFAULT_JOB_COUNT = 10_000
# Waits between tries of a call that failed for a passing reason, seconds: two minutes in all.
_BACK_OFF = (1, 2, 5, 12, 30, 70)
# A job that submits must not hand its own allocation down: sbatch reads some of these as options, and a task without
# GPUs would count those of the job that submitted it.
_SCRUBBED = ("SLURM_", "SBATCH_", "SLURMD_", "SRUN_", "PMI")
_SCRUBBED_IN_JOBS = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK")
_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS")


class LimitReached(RunError):
    """Slurm takes no more jobs of this user now; later it will."""


class QueueFull(LimitReached):
    """Slurm takes no more jobs of anybody now."""


class NoAnswer(RunError):
    """Slurm did not answer, or not in time; later it may."""


class SbatchFailed(Exception):
    """sbatch did not submit; the text is what it said."""


class NoJobId(Exception):
    """sbatch submitted, it seems, but what it said has no job id in it."""


@dataclass(frozen=True)
class SlurmLimits:
    """What one submission may be: elements of an array, and jobs at a time, of this user (None: no limit known), of all."""

    array_size: int
    submit_jobs: int | None
    job_count: int

    @property
    def jobs(self) -> int:
        """Jobs that this user can have at a time at most."""
        return self.job_count if self.submit_jobs is None else min(self.submit_jobs, self.job_count)


@dataclass(frozen=True)
class QueueEntry:
    """An array element (or several pending ones, as ``indices`` tells) as squeue shows it."""

    job_id: str
    indices: str
    state: str
    reason: str
    name: str


def is_here() -> bool:
    """Whether this machine can submit to Slurm."""
    return shutil.which("sbatch") is not None


def clean_environment() -> dict[str, str]:
    """This process's environment without what Slurm gave to the job that it may run in."""
    scrubbed = (*_SCRUBBED, *_SCRUBBED_IN_JOBS) if "SLURM_JOB_ID" in os.environ else _SCRUBBED
    return {name: value for name, value in os.environ.items() if name in _KEPT or not name.startswith(scrubbed)}


# --- submitting


def submit(script: Path, name: str, *, is_new: bool = True) -> str:
    """Submits a script; returns the Slurm job id. ``name`` is its job name, which no other submission has.

    What may be there already (not ``is_new``) is looked for by name. So it is before every further try after a passing
    error, since after "Socket timed out" the job may well be there. Raises LimitReached, InputError (sbatch refuses the
    script) or NoAnswer.
    """
    if not is_new and (found := find([name]).get(name)):
        return found
    tries = len(_BACK_OFF) + 1
    for number in range(tries):
        if number and (found := find([name]).get(name)):
            return found
        try:
            job_id = _submit_once(script, name)
            return _without_twins(name, job_id) if number else job_id
        except SbatchFailed as error:
            problem = str(error)
            _raise_if_final(problem, script)
        if number < len(_BACK_OFF):
            _pause("sbatch", problem, _BACK_OFF[number])
    raise NoAnswer(f"sbatch {script}: {problem}; tried {tries} times. Is slurmctld up? (scontrol ping)")


def _submit_once(script: Path, name: str) -> str:
    from launcher.slurm.submitter import sbatch

    try:
        return sbatch(script)
    except NoJobId as error:
        if found := find([name]).get(name):
            return found
        raise InputError(f"sbatch {script}: {error}") from None


def _without_twins(name: str, job_id: str) -> str:
    """After tries that failed: one of them may have arrived late. The first job stays, the others are cancelled."""
    first, *others = sorted({job_id} | _named([name]).get(name, set()), key=int)
    cancel(others)
    return first


def _raise_if_final(problem: str, script: Path) -> None:
    if is_queue_full(problem):
        raise QueueFull(f"sbatch {script}: {problem}")
    if is_submit_limit(problem):
        raise LimitReached(f"sbatch {script}: {problem}")
    if not is_passing(problem):
        raise InputError(
            f"sbatch {script}: {problem}\nThe script is made from slurm.template and the slurm section of the config; "
            "see it with `launcher plan --script`"
        )


def _pause(command: str, problem: str, seconds: float) -> None:
    print(f"{command}: {problem}; trying again in {seconds} s", file=sys.stderr, flush=True)
    time.sleep(seconds)


def test_only(script: Path) -> str:
    """What ``sbatch --test-only`` says of a script; raises InputError where it refuses it."""
    ended = _call("sbatch", "--test-only", str(script))
    if ended.returncode:
        _raise_if_final(said(ended.stderr), script)
    return (ended.stderr or ended.stdout).strip().removeprefix("sbatch: ")


# --- asking


def find(names: Collection[str]) -> dict[str, str]:
    """The ids of this user's Slurm jobs with these names, queued or ended lately, by name: one squeue call."""
    return {name: min(job_ids, key=int) for name, job_ids in _named(names).items()}


def _named(names: Collection[str]) -> dict[str, set[str]]:
    if not names:
        return {}
    text = _ask("squeue", "--noheader", "--me", f"--name={','.join(names)}", "--states=all", "--format=%F|%j")
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        job_id, _, name = line.strip().partition("|")
        found.setdefault(name, set()).add(job_id)
    return found


_asked_ahead: "queues.SimpleQueue[SlurmLimits | Exception] | None" = None


def ask_limits_ahead() -> None:
    """Asks for the limits while other things are done: sacctmgr takes as long as planning a small run."""
    global _asked_ahead
    answers = _asked_ahead = queues.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_read_limits())
        except LauncherError as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()


def limits() -> SlurmLimits:
    """The controller's limits, and this user's own from the accounting, where there is one."""
    global _asked_ahead
    answers, _asked_ahead = _asked_ahead, None
    answer = answers.get() if answers else _read_limits()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _read_limits() -> SlurmLimits:
    config = _ask("scontrol", "show", "config")
    numbers = dict(re.findall(r"^(MaxArraySize|MaxJobCount)\s*=\s*(\d+)", config, re.MULTILINE))
    own = _submit_limit() if "accounting_storage/slurmdbd" in config else None
    size, count = numbers.get("MaxArraySize", DEFAULT_ARRAY_SIZE), numbers.get("MaxJobCount", _DEFAULT_JOB_COUNT)
    return SlurmLimits(int(size), own, int(count))


def _submit_limit() -> int | None:
    user = f"user={getpass.getuser()}"
    try:
        return read_submit_limit(_run("sacctmgr", "-nP", "show", "assoc", user, "format=MaxSubmitJobs,GrpSubmitJobs"))
    except RunError:  # slurmdbd is down: sbatch will tell
        return None


def queue() -> list[QueueEntry]:
    """This user's array elements and jobs that wait or run: one squeue call. Raises NoAnswer where Slurm is silent."""
    text = _ask("squeue", "--noheader", "--me", "--format=%F|%K|%T|%r|%j")
    return [QueueEntry(*line.strip().split("|", 4)) for line in text.splitlines() if line.count("|") >= 4]


def accounting(job_ids: Iterable[str], since: float) -> list[Accounted]:
    """How elements of these jobs ended: one sacct call, from ``since`` (seconds since the epoch) on.

    Raises RunError where the accounting does not answer.
    """
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 60))
    text = _run("sacct", "-nP", "-j", ",".join(job_ids), "-S", start, "-o", ACCOUNTED_FIELDS, "--duplicates")
    return list(read_accounting(text))


# --- ending


def cancel(job_ids: Sequence[str]) -> None:
    """scancel of whole jobs, or of array elements such as 12_3; ids that Slurm forgot are no error."""
    if job_ids:
        _ask("scancel", "--quiet", *job_ids)


def await_end(job_ids: Iterable[str], timeout: float = 60.0) -> bool:
    """Waits until none of these jobs waits or runs; False where that takes longer than ``timeout`` seconds."""
    wanted = set(job_ids)
    deadline = time.monotonic() + timeout
    pause = 0.5
    while any(entry.job_id in wanted for entry in queue()):
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 5.0)
    return True


# --- calls


def _ask(*command: str) -> str:
    """Output of a command that the controller answers; where it does not, it is asked again, with back-off."""
    for wait in _BACK_OFF:
        try:
            return _run(*command)
        except NoAnswer as error:
            _pause(command[0], str(error), wait)
    return _run(*command)


def _run(*command: str) -> str:
    """Output of a Slurm command. Raises NoAnswer for a passing problem, RunError, with what it said, for others."""
    ended = _call(*command)
    if not ended.returncode:
        return ended.stdout
    problem = said(ended.stderr or ended.stdout)
    raise (NoAnswer if is_passing(problem) else RunError)(f"{' '.join(command[:3])}: {problem}")


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**clean_environment(), "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "standard"}
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, env=environment, check=False)
    except FileNotFoundError:
        raise InputError(f"{command[0]} is not on this machine's PATH; is this a login node of the cluster?") from None
    except subprocess.TimeoutExpired:
        raise RunError(f"{command[0]} did not answer within {_TIMEOUT:.0f} s") from None
