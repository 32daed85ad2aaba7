"""The sbatch scripts of a run: what the config, a retry and the launcher itself ask for, as text.

``array_script`` runs a submission's array tasks, ``finalize_script`` what follows them. Both are complete: sbatch of the
file by hand does the same.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import InputError
from jobs.machine import allocation
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Resources, Submission
from launcher.slurm.beginning import beginning
from launcher.slurm.parsers import JobId
from launcher.slurm.task_size import task_size
from launcher.slurm.template import Template, array_template, finalize_template, merge
from launcher.slurm.time_limit import too_early, warning
from launcher.slurm.whole_nodes import with_all_memory

if TYPE_CHECKING:
    from launcher.config.config import Config

# The warning ends a shell, or a Python, that has no handler of it. So the script only notes it while it loads modules, which
# may take minutes, and what starts after it ignores it until it has a handler of its own.
_NOTES_WARNING = f"trap 'export {allocation.WARNED}=1' USR2"
IGNORES_WARNING = "trap '' USR2"
# What follows the script on sbatch's command line is for us: `source activate`, say, would take it for its own.
_KEEPS_INDEX = 'LAUNCHER_INDEX="${1:-0}"; set --'
# Options that say who pays, and where it may run; the finalize job needs the same, the latter where it gets them.
_ACCOUNT_OPTIONS = ("account", "clusters", "wckey")
_PLACE_OPTIONS = ("partition", "qos", "reservation", "time")
_MAIL_OPTIONS = ("mail-type", "mail-user")
_BEGIN = "BEGIN"
_ALL_MAIL = (_BEGIN, "END", "FAIL", "INVALID_DEPEND", "REQUEUE", "STAGE_OUT")
# Gather takes tens of megabytes however large the run is; this is for what the Job imports, and what its reduce keeps.
_FINALIZE_MEMORY = "2G"
_CLUSTERS = "#SBATCH --clusters="
# This process as ProcessIdentity tells it, which stays the same over exec: whoever ends the job while Python starts is noticed.
_SIGN = (
    """printf '{"host": "%s", "boot": "%s", "pid": %s, "start": %s, "namespace": "%s"}\\n' "$(uname -n)" """
    """"$(cat /proc/sys/kernel/random/boot_id)" $$ "$(sed 's/.*) //' /proc/$$/stat | cut -d' ' -f20)" """
    """"$(readlink /proc/$$/ns/pid)\""""
)
_TASK_OPTIONS = ("ntasks", "ntasks-per-node", "ntasks-per-socket", "ntasks-per-core", "ntasks-per-gpu")

Options = dict[str, str | None]


def job_name(run: RunDir, number: int, folder: str = "") -> str:
    """The Slurm job name of a submission: the run's name, a hash of where and when it was planned, the number.

    It is unique for a user, also where a run was deleted and planned anew while jobs of the old one are in the queue.
    ``folder``: where the run was when the submission was made, if that is another path than now.
    """
    place = Path(folder or run.path.absolute())
    planned = f"{place} {Plan.read(run.plan).created}"
    return f"{place.name}-{hashlib.sha256(os.fsencode(planned)).hexdigest()[:8]}.{number}"


def task_names(run: RunDir, submission: Submission) -> list[str]:
    """The names of a submission's Slurm jobs: its array, or each of its array tasks."""
    name = job_name(run, submission.number, submission.folder)
    return [f"{name}-{index}" for index in range(submission.tasks)] if submission.resources.single_jobs else [name]


def finalize_name(run: RunDir, number: int, folder: str) -> str:
    """``folder`` as of job_name."""
    return f"{job_name(run, number, folder)}-finalize"


def array_script(run: RunDir, config: Config, submission: Submission) -> str:
    """The script of a submission's array. Raises InputError where template and config do not go together."""
    template = _template(config)
    asked = _asked(template, config, submission.resources)
    # Signals are for the supervisor: the batch script's own process, or srun's children.
    receiver = "" if config.slurm.nodes_per_task > 1 else "B:"
    options: Options = {
        "job-name": job_name(run, submission.number, submission.folder),
        "cpus-per-task": str(task_size(config, asked).cpus),
        "output": _pattern(run.submission_log(submission.number)),
        "open-mode": "append",
        "requeue" if config.slurm.requeue else "no-requeue": None,
        "signal": f"{receiver}USR2@{warning(config, asked.get('time'), submission.resources.default_time)}",
    }
    if not submission.resources.single_jobs:
        at_once = submission.resources.parallelism or config.slurm.array_parallelism
        options["array"] = f"0-{submission.tasks - 1}%{at_once}"
    if not submission.resources.attended:  # else no finalize job is there to send mail
        _ask_for_mail(asked, submission.resources)
    if submission.resources.attempt > 1:  # what it waited for has been; Slurm may have forgotten that job
        asked.pop("dependency", None)
    elif (begun := beginning(run, submission)) and "dependency" not in asked:
        options["dependency"] = begun
    _stay(asked, submission.cluster)
    if config.slurm.nodes_per_task > 1:
        options |= {"nodes": str(config.slurm.nodes_per_task), "ntasks-per-node": "1"}
    else:
        options["ntasks"] = "1"
    command = _command(run, config, submission, template)
    return template.render(merge(asked, options), command, before=f"{_KEEPS_INDEX}\n{_NOTES_WARNING}")


# Of the finalize job: it asks for less where Slurm refuses the first.
FINALIZE_WAYS = [{"beside": beside, "asks_memory": memory} for beside in (True, False) for memory in (True, False)]


def finalize_scripts(run: RunDir, config: Config, submissions: Sequence[Submission]) -> Iterator[str]:
    """The script of the finalize job, and others that ask for less, for where Slurm refuses the first.

    Nodes without RealMemory have no memory to ask for (slurm.conf(5)); a partition or QOS may take GPU jobs alone.
    """
    seen: set[str] = set()
    for way in FINALIZE_WAYS:
        if (script := finalize_script(run, config, submissions, **way)) not in seen:
            seen.add(script)
            yield script


def finalize_script(
    run: RunDir, config: Config, submissions: Sequence[Submission], *, beside: bool = True, asks_memory: bool = True
) -> str:
    """The script of the job that runs after these submissions' arrays, however they end.

    Of arrays that are not in Slurm yet, it is one that ``sbatch --test-only`` can be asked about.
    """
    numbers = [submission.number for submission in submissions]
    job_ids = [job_id for submission in submissions for job_id in submission.job_ids]
    template = finalize_template()
    options = finalize_options(config, submissions[0].resources, beside=beside, asks_memory=asks_memory) | {
        "job-name": finalize_name(run, numbers[0], submissions[0].folder),
        "output": _pattern(run.submission_log(numbers[0])),
        "open-mode": "append",
        "requeue": None,
        "dependency": f"afterany:{':'.join(job_ids)}" if job_ids else "singleton",
        "kill-on-invalid-dep": "yes",
    }
    _stay(options, submissions[0].cluster)
    command = [sys.executable, "-P", "-m", "launcher.slurm_finalize", str(run.path.absolute()), *map(str, numbers)]
    signs = shlex.join(str(run.ending(number).absolute()) for number in numbers)
    return template.render(
        merge(template.options, options), f"{_SIGN} | tee {signs} >/dev/null\nexec {shlex.join(command)}"
    )


def _mail_types(asked: Options) -> set[str]:
    """The kinds of mail that are asked for, ALL written out, as in sbatch(1)."""
    types = {name.strip().upper() for name in (asked.get("mail-type") or "").split(",") if name.strip()}
    return types - {"ALL"} | set(_ALL_MAIL) if "ALL" in types else types


def finalize_options(config: Config, resources: Resources, *, beside: bool = True, asks_memory: bool = True) -> Options:
    """What the finalize job asks for: what ``slurm.finalize`` says, and else for little, where the array may run.

    Not ``beside``: wherever the site lets jobs run.
    """
    asked = asked_options(config, resources)
    inherited = (*_ACCOUNT_OPTIONS, *(_PLACE_OPTIONS if beside else ()), *_MAIL_OPTIONS)
    options: Options = {name: asked[name] for name in inherited if name in asked}
    if types := _mail_types(asked) - {_BEGIN}:
        options["mail-type"] = ",".join(sorted(types))
    else:
        options.pop("mail-type", None)
    if asks_memory:
        options["mem"] = _FINALIZE_MEMORY
    own = config.slurm.finalize_options
    without = {name for name, value in own.items() if value is None or value is False}
    return merge(options, {name: _text(own[name]) for name in own.keys() - without}, without)


def _stay(options: Options, cluster: str | None) -> None:
    """What follows jobs goes to the cluster that has them: none can wait for a job of another one.

    On that cluster the option is left out, see calls.at; but not in a federation, where another one could take it.
    """
    if cluster:
        options.pop("clusters", None)
        is_here = cluster == allocation.cluster() and not JobId(allocation.native_id() or "0").is_federated
        options |= {} if is_here else {"clusters": cluster}


def asked_clusters(script: Path) -> tuple[str | None, ...]:
    """The clusters that a script may go to, with (None,) for the one of the machine that submits it."""
    try:
        lines = script.read_text(errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return (None,)
    named = [line.removeprefix(_CLUSTERS) for line in lines if line.startswith(_CLUSTERS)]
    return tuple(named[0].split(",")) if named else (None,)


def _template(config: Config) -> Template:
    return array_template(config.slurm.template, config.template_path)


def asked_options(config: Config, resources: Resources) -> Options:
    """What the array tasks of a submission ask for: the template's options, the config's, and what it got more of."""
    return _asked(_template(config), config, resources)


def _asked(template: Template, config: Config, resources: Resources) -> Options:
    options = _config_options(config, resources)
    # What the template has and the config does not want: ``exclusive: false``, ``gpus_per_task: 0``.
    switched_off = {name for name, value in config.slurm.options.items() if value is False}
    asked = merge(template.options, options, without=switched_off)

    def where(name: str) -> str:
        key = name.replace("-", "_")
        place = config.origins.where(("slurm", key)) or config.path
        return f"{place}: slurm.{key}" if name in options else template.where(name)

    if problem := too_early(config, asked.get("time")):
        raise InputError(f"{config.origins.where(('slurm', 'warning')) or config.path}: slurm.warning: {problem}")
    nodes = str(config.slurm.nodes_per_task)
    for name in _TASK_OPTIONS:
        if asked.get(name) not in (None, "1") and (name, asked[name]) != ("ntasks", nodes):
            raise InputError(
                f"{where(name)}: --{name}={asked[name]}: an array task is one process tree; set node.processes for "
                "more processes, slurm.nodes_per_task for more nodes"
            )
    if asked.get("nodes") not in (None, "1", "1-1", nodes):
        raise InputError(f"{where('nodes')}: --nodes={asked['nodes']}: set slurm.nodes_per_task for more than one node")
    return with_all_memory(asked) if task_size(config, asked).fills else asked


def _config_options(config: Config, resources: Resources) -> Options:
    """The config's sbatch options, and over them what this submission was given more of (mem, time, exclude)."""
    own = config.slurm.gpus_per_task
    gpus = {} if own is None else {"gpus-per-task": own}
    later: list[Mapping[str, Any]] = [resources.options, gpus]  # of two ways to ask for GPUs the last one counts
    if "slurm.gpus_per_task" in config.profiles:
        later.reverse()
    options = {**config.slurm.options, **later[0], **later[1]}
    return {name: _text(value) for name, value in options.items() if value is not False and value is not None}


def _text(value: Any) -> str | None:
    if value is True:
        return None
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _pattern(path: Path) -> str:
    """A path as sbatch reads file names: % begins a replacement. Raises InputError for one that it cannot write to."""
    text = str(path.absolute())
    if "\\" in text:  # of filename pattern in sbatch(1): it ends all replacement, and is taken out
        raise InputError(
            f"{text}: Slurm writes no log into a folder whose name has a backslash; rename it, or set runs"
        )
    return text.replace("%", "%%")


def _ask_for_mail(asked: Options, resources: Resources) -> None:
    """At the beginning; the finalize job tells the rest: the end of an array is not yet that of the run."""
    if resources.attempt == 1 and (begin := _mail_types(asked) & {_BEGIN}):
        asked["mail-type"] = ",".join(begin)
        return
    for name in _MAIL_OPTIONS:
        asked.pop(name, None)


def _command(run: RunDir, config: Config, submission: Submission, template: Template) -> str:
    """``exec``, so that Slurm's signals reach the supervisor; a template may set a prefix and another Python."""
    python, before = f"${{LAUNCHER_PYTHON:-{sys.executable}}}", ""
    if (quoted := shlex.quote(sys.executable)) != sys.executable:
        # Between the double quotes, bash would read quotes and dollar signs of the path as its own.
        python, before = "$LAUNCHER_PYTHON", f"LAUNCHER_PYTHON=${{LAUNCHER_PYTHON:-{quoted}}}\n"
    words = [f'"{python}"', "-P", "-m", "jobs"]
    words += [shlex.quote(str(run.path.absolute())), str(submission.number)]
    if submission.resources.single_jobs:
        words.append('"$LAUNCHER_INDEX"')  # sbatch SCRIPT INDEX
    if template.mentions("LAUNCHER_PREFIX"):
        words.insert(0, '"${LAUNCHER_PREFIX[@]}"')
    before += f"{IGNORES_WARNING}\n"
    if config.slurm.nodes_per_task > 1:
        # srun's tasks inherit nothing of what this shell ignores.
        words.insert(0, f"""{_srun(config)} sh -c '{IGNORES_WARNING.replace("'", '"')}; exec "$@"' sh""")
    return before + " ".join(["exec", *words])


def _srun(config: Config) -> str:
    """One task on each node, with the CPUs of an array task; with all that the job has there where it fills its nodes."""
    # Else ``--export=NONE`` of the template holds for srun too, and the tasks lack what the script has set.
    start = "srun --kill-on-bad-exit=0 --export=ALL"
    if config.node.processes != "auto":
        return f"{start} --cpus-per-task=$SLURM_CPUS_PER_TASK"
    # The variables stand for the option. Without it a task is bound to one CPU.
    return f"env -u SLURM_CPUS_PER_TASK -u SRUN_CPUS_PER_TASK {start} --cpu-bind=none"
