"""Calls: how a command of Slurm is run: with a time limit, in a clean environment, and again where Slurm does not answer."""

import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from functools import cache

from jobs.errors import InputError, RunError
from jobs.machine.allocation import USERS_OWN, cluster
from launcher.slurm.parsers import is_not_configured, is_passing, said

_TIMEOUT = 60.0
# Of what Slurm says where the cause is known, so many characters are shown.
_SAID = 100
# Waits between tries of a call that failed for a passing reason, seconds: two minutes in all.
BACK_OFF = (1, 2, 5, 12, 30, 70)
# A job that submits must not hand its own allocation down: sbatch reads some of these as options, and a task without
# GPUs would count those of the job that submitted it.
_SCRUBBED = ("SLURM_", "SBATCH_", "SLURMD_", "SRUN_", "PMI", *USERS_OWN)
_SCRUBBED_IN_JOBS = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK")
_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER")


class NoAnswer(RunError):
    """Slurm did not answer, or not in time; later it may."""


class TimedOut(NoAnswer):
    """A command had not ended when its time was over, and was killed."""


def clean_environment() -> dict[str, str]:
    """This process's environment without what Slurm gave to the job that it may run in."""
    scrubbed = (*_SCRUBBED, *_SCRUBBED_IN_JOBS) if "SLURM_JOB_ID" in os.environ else _SCRUBBED
    return {name: value for name, value in os.environ.items() if name in _KEPT or not name.startswith(scrubbed)}


def at(named: str | None) -> tuple[str, ...]:
    """The option that sends a command to a cluster; not needed for the one that this job runs on.

    With it Slurm asks the database where that cluster is, which nodes need not reach.
    """
    return (f"--clusters={named}",) if named and named != cluster() else ()


def ask(*command: str, otherwise: str = "") -> str:
    """Output of a command that the controller answers; where it does not, it is asked again, for two minutes or three.

    ``otherwise`` is said with it: what the user can do instead of waiting.
    """
    end = time.monotonic() + sum(BACK_OFF) + _TIMEOUT
    waits = iter(BACK_OFF)
    while True:
        try:
            return run(*command)
        except NoAnswer as error:
            wait = next(waits, None)
            if wait is None or time.monotonic() + wait > end:  # each try may take a minute itself
                raise NoAnswer(f"{error}{otherwise}") from None
            pause(command[0], f"{error}{otherwise}", wait)


def run(*command: str, timeout: float | None = None) -> str:
    """Output of a Slurm command. Raises NoAnswer for a passing problem, RunError, with what it said, for others."""
    ended = call(*command, timeout=timeout)
    if not ended.returncode:
        return ended.stdout
    problem = said(ended.stderr or ended.stdout)
    if is_not_configured(problem):
        raise _not_configured(f"{command[0]}: {textwrap.shorten(problem, _SAID, placeholder=' ...')}")
    raise (NoAnswer if is_passing(problem) else RunError)(f"{' '.join(command[:3])}: {problem}")


def call(*command: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """A question to Slurm, answered as parsers read it: array indices in full, times in the standard form."""
    _check_configuration()
    return _call(
        command, {**clean_environment(), "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "standard"}, timeout or _TIMEOUT
    )


def call_bound(*command: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """A command that changes something: it dies with this process, where this machine can do that.

    An sbatch that outlived its launcher would submit what the next launcher does not find yet, and submits too. What it
    is told about output would be in the environment of the job.
    """
    if shutil.which(command[0]) is None:
        raise _not_here(command[0])
    _check_configuration()
    bound = ("setpriv", "--pdeathsig", "KILL") if can_bind() else ()
    return _call((*bound, *command), clean_environment(), timeout)


@cache
def can_bind() -> bool:
    """Whether there is a setpriv that knows --pdeathsig (since util-linux 2.33; RHEL 8 has 2.32) and may do it."""
    if shutil.which("setpriv") is None:
        return False
    return not _call(("setpriv", "--pdeathsig", "KILL", "true"), clean_environment(), _TIMEOUT).returncode


def _call(command: tuple[str, ...], environment: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    try:
        # Names of jobs, and what a site's own wrappers say, are bytes of any encoding.
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,  # a wrapper that asks something would wait for who is not there
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=environment,
            check=False,
        )
    except FileNotFoundError:
        raise _not_here(command[0]) from None
    except OSError as error:  # no more processes, no memory for one: not so later
        raise NoAnswer(f"{command[0]} cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise TimedOut(f"{command[0]} did not answer within {timeout:.0f} s") from None


def _check_configuration() -> None:
    """Without the file that SLURM_CONF names each command would look for it a minute long."""
    path = os.environ.get("SLURM_CONF")
    if path and not os.path.exists(path):
        raise _not_configured(f"SLURM_CONF is {path}, which is not there")


def _not_configured(why: str) -> InputError:
    return InputError(
        "Slurm's commands are on this machine, and its configuration is not: set SLURM_CONF to a slurm.conf, or run on this "
        f"machine: --set executor=local ({why})"
    )


def _not_here(command: str) -> InputError:
    return InputError(f"{command} is not on this machine's PATH; is this a login node of the cluster?")


def pause(command: str, problem: str, seconds: float) -> None:
    """Says that a command is tried again in some seconds, and waits for these."""
    print(f"{command}: {problem}; trying again in {seconds} s", file=sys.stderr, flush=True)
    time.sleep(seconds)
