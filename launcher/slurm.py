"""Slurm: the only module that talks to Slurm (sbatch through submitit, squeue, sacct, scontrol, sacctmgr, scancel).

Used by the Slurm executor and by its finalize job. Every call has a time limit, and none is made in a loop over jobs: a
question about a whole run is one call. Errors of sbatch are sorted into those worth another try, those that mean
"no more now", and those that the user has to mend.
"""

import getpass
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import SlurmExecutor

from jobs.errors import InputError, RunError

_TIMEOUT = 60.0
DEFAULT_ARRAY_SIZE = 1001
# Waits between tries of an sbatch that failed for a passing reason, seconds: two minutes in all.
_BACK_OFF = (1, 2, 5, 12, 30, 70)
_PASSING = (
    "Socket timed out",
    "Unable to contact slurm controller",
    "Connection refused",
    "Zero Bytes were transmitted",
    "Transport endpoint is not connected",
    "Resource temporarily unavailable",
    "temporarily unable to accept job",
    "Message timeout",
    "Connection timed out",
    "Unexpected missing socket error",
)
_NO_MORE_NOW = (
    "AssocMaxSubmitJobLimit",
    "AssocGrpSubmitJobsLimit",
    "QOSMaxSubmitJobPerUserLimit",
    "QOSGrpSubmitJobsLimit",
    "Job violates accounting/QOS policy",
    "MaxSubmitJob",
    "job count",
)
# A job that submits must not hand its own allocation down: sbatch reads these as options.
_SCRUBBED = ("SLURM_", "SBATCH_", "SLURMD_", "SRUN_", "PMI")
_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS")


class LimitReached(RunError):
    """Slurm takes no more jobs of this user now; later it will."""


@dataclass(frozen=True)
class Limits:
    """What one submission may be: elements of an array, and jobs of this user at a time (None: no limit known)."""

    array_size: int
    submit_jobs: int | None


@dataclass(frozen=True)
class QueueEntry:
    """An array element (or several pending ones, as ``indices`` tells) as squeue shows it."""

    job_id: str
    indices: str
    state: str
    reason: str
    name: str


@dataclass(frozen=True)
class Accounted:
    """How Slurm's accounting says that an array element ended.

    ``memory`` is MaxRSS in bytes, 0 where unknown; ``asked_memory`` and ``asked_time`` are as Slurm writes them.
    """

    job_id: str
    index: int | None
    state: str
    exit_code: str
    node: str
    memory: int
    asked_memory: str
    asked_time: str


def is_here() -> bool:
    """Whether this machine can submit to Slurm."""
    return shutil.which("sbatch") is not None


def clean_environment() -> dict[str, str]:
    """This process's environment without what Slurm gave to the job that it may run in."""
    return {n: v for n, v in os.environ.items() if n in _KEPT or not n.startswith(_SCRUBBED)}


class _Submitter(SlurmExecutor):
    """submitit's executor, submitting a script that is on disk already: nothing is pickled, no file is made per element."""

    def __init__(self, folder: str, script: Path, extra: Sequence[str]) -> None:
        super().__init__(folder)
        self._script = script
        self._extra = extra

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return self._script.read_text()

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        unset = [f"--unset={name}" for name in os.environ.keys() - clean_environment().keys()]
        return ["env", *unset, "sbatch", *self._extra, str(self._script)]

    def submit_script(self) -> str:
        """Returns the Slurm job id; raises what submitit raises."""
        return self._submit_command("").job_id


def submit(script: Path, name: str, extra: Sequence[str] = ()) -> str:
    """Submits a script; returns the Slurm job id. ``name`` is its job name, which no other submission has.

    A passing error is tried again with back-off, but first the job is looked for by name: after "Socket timed out" it may
    well be there. Raises LimitReached, InputError (sbatch refuses the script) or RunError (Slurm cannot be reached).
    """
    problem = ""
    for wait in (*_BACK_OFF, None):
        try:
            return _submit_once(script, extra)
        except (FailedJobError, FailedSubmissionError) as error:
            problem = _last_line(str(error))
            _raise_if_final(problem, script)
        if wait is None:
            break
        time.sleep(wait)
        found = _find_quietly(name)
        if found:
            return found
    raise RunError(f"sbatch {script}: {problem}; tried {len(_BACK_OFF) + 1} times. Is slurmctld up? (scontrol ping)")


def _submit_once(script: Path, extra: Sequence[str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return _Submitter(folder, script, extra).submit_script()


def _last_line(text: str) -> str:
    """What sbatch itself said, out of submitit's message."""
    said = [line for line in text.splitlines() if "sbatch: error" in line or "sbatch: fatal" in line]
    lines = said or [line for line in text.splitlines() if line.strip()] or ["no message"]
    return " ".join(line.split("error: ", 1)[-1].strip() for line in lines)


def _raise_if_final(problem: str, script: Path) -> None:
    if any(text in problem for text in _NO_MORE_NOW):
        raise LimitReached(f"sbatch {script}: {problem}")
    if not any(text in problem for text in _PASSING):
        raise InputError(
            f"sbatch {script}: {problem}\nThe script is made from slurm.template and the slurm section of the config; "
            "see it with `launcher plan --script`"
        )


def _find_quietly(name: str) -> str | None:
    try:
        return find(name)
    except RunError:
        return None


def find(name: str) -> str | None:
    """The id of this user's Slurm job with this name, queued or ended lately; None where there is none."""
    text = _run("squeue", "--noheader", "--me", f"--name={name}", "--states=all", "--format=%F")
    return next(iter(text.split()), None)


def test_only(script: Path) -> str:
    """What ``sbatch --test-only`` says of a script; raises InputError where it refuses it."""
    command = ["sbatch", "--test-only", str(script)]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=_TIMEOUT, env=clean_environment(), check=False
    )
    said = (ended.stderr or ended.stdout).strip()
    if ended.returncode:
        _raise_if_final(_last_line(said), script)
    return said.removeprefix("sbatch: ")


def limits() -> Limits:
    """Reads MaxArraySize from the controller and this user's submit limits from the accounting, where there is one."""
    config = _run("scontrol", "show", "config")
    sizes = re.search(r"^MaxArraySize\s*=\s*(\d+)", config, re.MULTILINE)
    has_accounting = "accounting_storage/slurmdbd" in config
    return Limits(int(sizes[1]) if sizes else DEFAULT_ARRAY_SIZE, _submit_limit() if has_accounting else None)


def _submit_limit() -> int | None:
    user = f"user={getpass.getuser()}"
    try:
        text = _run("sacctmgr", "-nP", "show", "assoc", user, "format=MaxSubmitJobs,GrpSubmitJobs")
    except RunError:  # slurmdbd is down: sbatch will tell
        return None
    numbers = [int(word) for word in re.split(r"[|\n]", text) if word.isdigit()]
    return min(numbers, default=None)


def queue() -> list[QueueEntry]:
    """This user's array elements and jobs that wait or run: one squeue call. Raises RunError where Slurm is silent."""
    text = _run("squeue", "--noheader", "--me", "--format=%F|%K|%T|%r|%j")
    return [QueueEntry(*line.strip().split("|", 4)) for line in text.splitlines() if line.count("|") >= 4]


def accounting(job_ids: Iterable[str], since: float) -> list[Accounted]:
    """How elements of these jobs ended: one sacct call, from ``since`` (seconds since the epoch) on.

    Raises RunError where the accounting does not answer.
    """
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 60))
    fields = "JobID,State,ExitCode,NodeList,MaxRSS,ReqMem,Timelimit"
    text = _run("sacct", "-nP", "-j", ",".join(job_ids), "-S", start, "-o", fields, "--duplicates")
    return list(_read_accounting(text))


def _read_accounting(text: str) -> Iterator[Accounted]:
    """An element's own line tells its state; MaxRSS stands in the lines of its steps."""
    memory: dict[str, int] = {}
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        fields = line.split("|")
        job, _, step = fields[0].partition(".")
        memory[job] = max(memory.get(job, 0), _bytes(fields[4]))
        if not step and "[" not in job:
            rows[job] = fields  # of a requeued element the last line counts
    for job, (_, state, code, node, _, asked_memory, asked_time, *_) in rows.items():
        array, _, index = job.partition("_")
        element = int(index) if index else None
        yield Accounted(array, element, state.split()[0], code, node, memory[job], asked_memory, asked_time)


def _bytes(text: str) -> int:
    match = re.fullmatch(r"([\d.]+)([KMGT]?)", text)
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " ")) if match else 0


def cancel(job_ids: Sequence[str]) -> None:
    """scancel of whole jobs; ids that Slurm forgot are no error."""
    if job_ids:
        _run("scancel", "--quiet", *job_ids)


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


def _run(*command: str) -> str:
    """Output of a Slurm command; raises RunError with what it said."""
    environment = {**clean_environment(), "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "standard"}
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, env=environment, check=False)
    except FileNotFoundError:
        raise InputError(f"{command[0]} is not on this machine's PATH; is this a login node of the cluster?") from None
    except subprocess.TimeoutExpired:
        raise RunError(f"{command[0]} did not answer within {_TIMEOUT:.0f} s") from None
    if ended.returncode:
        raise RunError(f"{' '.join(command[:3])}: {_last_line(ended.stderr or ended.stdout)}")
    return ended.stdout
