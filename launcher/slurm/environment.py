"""What a user's SBATCH_* variables ask for, as sbatch itself would read them. Sites tell their users to export some."""

import os
from collections.abc import Mapping

from jobs.errors import InputError
from launcher.config.sbatch_options import OptionValue, check_option
from launcher.slurm.template import merge

# Of INPUT ENVIRONMENT VARIABLES in sbatch(1): those that say where, on what and with which variables a job may run. What the
# launcher computes itself (array, name, logs, signal, requeue, CPUs of a GPU) is not among them, nor what has sbatch wait.
_VARIABLES = {
    "SBATCH_ACCOUNT": "account",
    "SBATCH_CLUSTERS": "clusters",
    "SLURM_CLUSTERS": "clusters",  # the same, for all commands of Slurm
    "SBATCH_CONSTRAINT": "constraint",
    "SBATCH_CORE_SPEC": "core-spec",
    "SBATCH_EXCLUSIVE": "exclusive",
    "SBATCH_EXPORT": "export",
    "SBATCH_GPUS": "gpus",
    "SBATCH_GPUS_PER_NODE": "gpus-per-node",
    "SBATCH_GPUS_PER_TASK": "gpus-per-task",
    "SBATCH_GRES": "gres",
    "SBATCH_HINT": "hint",
    "SBATCH_MEM_PER_CPU": "mem-per-cpu",
    "SBATCH_MEM_PER_GPU": "mem-per-gpu",
    "SBATCH_MEM_PER_NODE": "mem",
    "SBATCH_PARTITION": "partition",
    "SBATCH_QOS": "qos",
    "SBATCH_RESERVATION": "reservation",
    "SBATCH_THREADS_PER_CORE": "threads-per-core",
    "SBATCH_THREAD_SPEC": "thread-spec",
    "SBATCH_TIMELIMIT": "time",
    "SBATCH_WCKEY": "wckey",
}


def from_environment(options: Mapping[str, OptionValue]) -> dict[str, str]:
    """The options that the environment has and the config's ``options`` leave open. As with sbatch they win over a script's.

    An option that stands for the same in another way (mem-per-cpu for mem) leaves nothing open. Raises InputError for a size or
    a time that sbatch would not take either.
    """
    found: dict[str, str | None] = {}
    for variable, name in _VARIABLES.items():
        if name not in (*options, *found) and (value := os.environ.get(variable)):
            found[name] = _checked(variable, name, value)
    own = {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in options.items()
    }
    left = merge(found, {name: value for name, value in own.items() if options[name] is not False})
    return {name: value for name, value in left.items() if value is not None and name not in options}


def _checked(variable: str, name: str, value: str) -> str:
    try:
        return str(check_option(name, value))
    except ValueError as error:
        raise InputError(f"{variable}={value}: {error}") from None
