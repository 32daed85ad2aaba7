"""Prospects: what Slurm says of a config's array tasks and of its finalize job before there are any, for doctor."""

from typing import TYPE_CHECKING

from jobs.errors import InputError, LauncherError
from launcher.executors import Finding
from launcher.slurm.dry_run import finalize_way, refusal
from launcher.slurm.outlook import remarks, run_at_once
from launcher.slurm.parsers import is_about_arrays
from launcher.slurm.scripts import Options
from launcher.slurm.task_size import task_size
from launcher.slurm.template import merge, shown_options

if TYPE_CHECKING:
    from jobs.storage.submission import Resources
    from launcher.config.config import Config


def array_prospect(config: "Config", asked: Options, has_arrays: bool) -> Finding:
    """What sbatch says of an array with the config's options, or of a job where there are no arrays, without submitting one."""
    name = "an array" if has_arrays else "a job"
    try:
        cpus = task_size(config, asked).cpus
    except InputError as error:
        return Finding(name, "", str(error), is_needed=True)
    options = merge(asked, {"cpus-per-task": str(cpus)} | ({"array": "0-1"} if has_arrays else {}))
    for waits in ("dependency", "mail-type", "mail-user"):
        options.pop(waits, None)
    words = shown_options(options)
    try:
        refused = refusal(options)
        without = {option: value for option, value in options.items() if option != "array"}
        if refused and has_arrays and is_about_arrays(refused) and not refusal(without):
            return Finding(name, words, f"sbatch refuses it: {refused}; so each array task is a Slurm job of its own")
    except LauncherError as error:
        return Finding(name, "not tried", str(error))
    if refused:
        return Finding(name, words, f"sbatch refuses it: {refused}", is_needed=True)
    return Finding(name, f"sbatch would take it: {words}")


def task_prospects(config: "Config", asked: Options, resources: "Resources") -> Finding:
    """How many array tasks run at a time, and what keeps those that sbatch takes from starting, or from using their nodes."""
    try:
        most = run_at_once(config, asked)
        text = "no limit of yours" if most is None else f"{most} at most, by limits of yours"
        return Finding("tasks at a time", text, "\n".join(remarks(config, asked, resources)))
    except LauncherError as error:
        return Finding("tasks at a time", "unknown", str(error))


def finalize_prospect(config: "Config", resources: "Resources") -> Finding:
    """What sbatch says of the job that would retry and write the result."""
    try:
        options, problem = finalize_way(config, resources)
    except LauncherError as error:
        return Finding("finalize job", "not tried", str(error))
    words = shown_options(options)
    if not problem:
        return Finding("finalize job", f"sbatch would take it: {words}")
    return Finding(
        "finalize job", words,
        f"sbatch refuses it: {problem}; so submit refuses, and `launcher run` stays and does what that job would; "
        "slurm.finalize changes what it asks for",
    )  # fmt: skip
