"""DryRun: whether sbatch would take a job with certain options, without submitting one."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.slurm.calls import NoAnswer, call
from launcher.slurm.parsers import is_for_now, is_passing, said
from launcher.slurm.scripts import FINALIZE_WAYS, Options, finalize_options
from launcher.slurm.template import Template, finalize_template, merge

if TYPE_CHECKING:
    from jobs.storage.submission import Resources
    from launcher.config.config import Config

_SECONDS = 20.0
_SCRIPT = "#!/bin/bash\n"
# It is to run after the array, and sites that refuse any dependency refuse this one, which names no job.
_WAITS: Options = {"job-name": "launcher-trial", "dependency": "singleton"}


def refusal(options: Options) -> str:
    """Why sbatch does not take a script with these options; nothing where it does, now or later.

    Raises NoAnswer where Slurm does not say.
    """
    import tempfile  # it takes a while, and status does without

    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "trial.sbatch")
        script.write_text(Template(_SCRIPT, "trial").render({**options, "output": os.devnull}, "true"))
        ended = call("sbatch", "--test-only", str(script), timeout=_SECONDS)
    problem = said(ended.stderr or ended.stdout)
    if not ended.returncode or is_for_now(problem):
        return ""
    if is_passing(problem):
        raise NoAnswer(f"sbatch --test-only: {problem}")
    return problem


def finalize_way(config: "Config", resources: "Resources") -> tuple[Options, str]:
    """What the finalize job would ask for: the first of its ways that sbatch takes; or the first, and why none is taken."""
    ways: list[Options] = []
    for options in (finalize_options(config, resources, **way) for way in FINALIZE_WAYS):
        ways += [options] if options not in ways else []
    refusals = []
    for options in ways:
        silent = {name: value for name, value in options.items() if not name.startswith("mail-")}
        problem = refusal(merge(finalize_template().options, silent | _WAITS))
        if not problem:
            return options, ""
        refusals.append(problem)
    return ways[0], refusals[0]
