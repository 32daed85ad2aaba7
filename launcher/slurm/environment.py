"""What a user's SBATCH_* variables ask for, as sbatch itself would read them. Sites tell their users to export some."""

import os
from collections.abc import Mapping

from jobs.errors import InputError
from launcher.config.sbatch_options import MEMORY_OPTIONS, OptionValue, check_option

# Of INPUT ENVIRONMENT VARIABLES in sbatch(1): those that say where and on what a job may run. What the launcher computes
# itself (array, name, output, signal, requeue) is not among them.
_VARIABLES = {
    "SBATCH_ACCOUNT": "account",
    "SBATCH_CLUSTERS": "clusters",
    "SLURM_CLUSTERS": "clusters",  # the same, for all commands of Slurm
    "SBATCH_CONSTRAINT": "constraint",
    "SBATCH_EXCLUSIVE": "exclusive",
    "SBATCH_GRES": "gres",
    "SBATCH_MEM_PER_CPU": "mem-per-cpu",
    "SBATCH_MEM_PER_GPU": "mem-per-gpu",
    "SBATCH_MEM_PER_NODE": "mem",
    "SBATCH_PARTITION": "partition",
    "SBATCH_QOS": "qos",
    "SBATCH_RESERVATION": "reservation",
    "SBATCH_TIMELIMIT": "time",
    "SBATCH_WCKEY": "wckey",
}


def from_environment(options: Mapping[str, OptionValue]) -> dict[str, str]:
    """The options that the environment has and the config's ``options`` leave open. As with sbatch they win over a script's.

    Raises InputError for a size or a time that sbatch would not take either.
    """
    taken = set(options) | (MEMORY_OPTIONS if MEMORY_OPTIONS & set(options) else set())
    found: dict[str, str] = {}
    for variable, name in _VARIABLES.items():
        if name not in (*taken, *found) and (value := os.environ.get(variable)):
            found[name] = _checked(variable, name, value)
    return found


def _checked(variable: str, name: str, value: str) -> str:
    try:
        return str(check_option(name, value))
    except ValueError as error:
        raise InputError(f"{variable}={value}: {error}") from None
