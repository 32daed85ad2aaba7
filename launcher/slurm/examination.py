"""Examination: what is to be known of this Slurm, for doctor: all asked at once, each question once and for seconds.

What is missing is told with what happens instead, so that nobody has to find out by a run.
"""

import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.errors import InputError, LauncherError
from jobs.machine.user import user_name
from launcher.executors import Finding
from launcher.slurm.calls import at, can_bind, run
from launcher.slurm.limits import heeds_limits
from launcher.slurm.prospects import array_prospect, finalize_prospect, task_prospects
from launcher.slurm.scripts import Options, asked_options
from launcher.units import counted, short_size

if TYPE_CHECKING:
    from jobs.storage.submission import Resources
    from launcher.config.config import Config

_SECONDS = 20.0
_MOST_PARTITIONS = 40
_QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "config": ("scontrol", "show", "config"),
    "partitions": ("scontrol", "--all", "show", "partition", "--oneliner"),
    "nodes": ("sinfo", "--noheader", "--all", "--exact", "--format=%P|%D|%c|%m|%G|%T"),
    "accounting": ("sacct", "-nPX", "-S", "now", "-o", "JobID"),
    "federation": ("scontrol", "show", "federation"),
}
_LIMITS = (
    "sacctmgr",
    "-nP",
    "show",
    "user",
    "{user}",
    "withassoc",
    "format=Cluster,Account,Partition,QOS,MaxSubmitJobs",
)
# Values of MaxArraySize, which is one more than the largest index.
_NO_ARRAYS = ("0", "1")


@dataclass(frozen=True)
class Answers:
    """What Slurm said, by question, or why it did not."""

    texts: Mapping[str, str]
    problems: Mapping[str, str]

    @property
    def values(self) -> dict[str, str]:
        """Of slurm.conf and cgroup.conf."""
        return dict(re.findall(r"^(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", self.texts.get("config", ""), re.MULTILINE))

    @property
    def partitions(self) -> list[dict[str, str]]:
        rows = self.texts.get("partitions", "").splitlines()
        return [fields for row in rows if "PartitionName" in (fields := dict(re.findall(r"(\S+?)=(\S*)", row)))]


def examine(config: "Config", resources: "Resources") -> list[Finding]:
    """All that is found; where the controller does not answer, that alone."""
    asked, refused = Options(), ""
    try:
        asked = asked_options(config, resources)
    except InputError as error:
        refused = str(error)
    cluster = (asked.get("clusters") or "").split(",")[0]  # of several the first stands for all
    answers = _ask(None if cluster == "all" else cluster)
    if problem := answers.problems.get("config"):
        return [Finding("controller", "does not answer", f"Slurm cannot be asked: {problem}", is_needed=True)]
    has_arrays = answers.values.get("MaxArraySize") not in _NO_ARRAYS
    trial = Finding("an array", "", refused, is_needed=True) if refused else array_prospect(config, asked, has_arrays)
    return [
        *_controller(answers),
        *_partitions(answers, asked),
        *_accounting(answers),
        *_habits(answers.values, config.slurm.grace),
        *_environment(resources),
        trial,
        *([] if trial.is_needed else [task_prospects(config, asked, resources)]),
        *([] if trial.is_needed or resources.attended else [finalize_prospect(config, resources)]),
    ]


def _ask(cluster: str | None) -> Answers:
    texts, problems = dict[str, str](), dict[str, str]()
    questions = {name: (command, *at(cluster), *words) for name, (command, *words) in _QUESTIONS.items()}
    questions["limits"] = tuple(word.format(user=user_name()) for word in _LIMITS)
    with ThreadPoolExecutor(len(questions)) as pool:
        asked = {name: pool.submit(run, *command, timeout=_SECONDS) for name, command in questions.items()}
        for name, answer in asked.items():
            try:
                texts[name] = answer.result()
            except LauncherError as error:
                problems[name] = str(error)
    return Answers(texts, problems)


def _controller(answers: Answers) -> Iterator[Finding]:
    values = answers.values
    yield Finding("cluster", f"{values.get('ClusterName', '?')}, Slurm {values.get('SLURM_VERSION', '?')}, answers")
    if found := re.search(r"^Federation:\s*(\w\S*)", answers.texts.get("federation", ""), re.MULTILINE):
        yield Finding("federation", f"{found[1]}: all of a run stays on {values.get('ClusterName', 'this cluster')}")
    largest = values.get("MaxArraySize", "?")
    lacks = ""
    if largest in _NO_ARRAYS:
        lacks = "no job arrays here (MaxArraySize): each array task is a Slurm job of its own"
    yield Finding("arrays", f"of {largest} elements at most, {values.get('MaxJobCount', '?')} jobs of all users", lacks)
    if not can_bind():
        yield Finding(
            "setpriv", "--pdeathsig is not known",
            "a launcher that is killed may leave an sbatch behind: the next one finds its job by name",
        )  # fmt: skip


def _partitions(answers: Answers, asked: Options) -> Iterator[Finding]:
    known = {fields["PartitionName"]: fields for fields in answers.partitions}
    nodes = _nodes(answers.texts.get("nodes", ""))
    for name, fields in list(known.items())[:_MOST_PARTITIONS]:
        star = "*" if fields.get("Default") == "YES" else ""
        yield Finding(f"partition {name}{star}", f"{nodes.get(name, 'no nodes')}; {_rules(fields)}")
    if len(known) > _MOST_PARTITIONS:
        yield Finding("partitions", f"and {len(known) - _MOST_PARTITIONS} more: sinfo")
    defaults = [name for name, fields in known.items() if fields.get("Default") == "YES"]
    wanted = (asked.get("partition") or "").split(",") if asked.get("partition") else defaults
    if known and not wanted:
        yield Finding("partition", "no default one", "set slurm.partition", is_needed=True)
    for name in wanted:
        if problem := _no_use(name, known):
            yield Finding(f"partition {name}", "asked for", problem, is_needed=name not in known)


def _no_use(name: str, known: Mapping[str, Mapping[str, str]]) -> str | None:
    if name not in known:
        return f"there is none of that name, or not for you; there are: {', '.join(known) or 'none'}"
    fields = known[name]
    if (state := fields.get("State", "UP")) != "UP":
        return f"it is {state}: jobs wait until it is UP, or are refused"
    if (allowed := fields.get("AllocNodes", "ALL")) not in ("ALL", "(null)"):
        return (
            f"jobs for it may be submitted on {allowed} alone (AllocNodes): where a node may not, the finalize job cannot "
            "submit retries: set slurm.finalize.partition, or type `launcher run RUN` when the array has ended"
        )
    return None


def _rules(fields: Mapping[str, str]) -> str:
    default = fields.get("DefaultTime", "NONE")
    words = [f"time {fields.get('MaxTime', '?').lower()}" + ("" if default == "NONE" else f" (else {default})")]
    if (mode := fields.get("PreemptMode", "OFF")) != "OFF":
        grace = fields.get("GraceTime", "0")
        words.append(f"preempted by {mode}" + ("" if grace == "0" else f" after {grace} s"))
    if fields.get("OverSubscribe") == "EXCLUSIVE":
        words.append("whole nodes")
    if (memory := fields.get("DefMemPerCPU") or fields.get("DefMemPerNode", "UNLIMITED")) != "UNLIMITED":
        words.append(f"{memory}M unless asked")
    return ", ".join(words)


def _nodes(text: str) -> dict[str, str]:
    """By partition: its nodes in words, those of a kind together."""
    kinds: dict[str, dict[str, int]] = {}
    for partition, count, cpus, memory, gres, _ in (row.split("|") for row in text.splitlines() if row.count("|") == 5):
        size = f"{cpus} CPUs, {short_size(int(memory.rstrip('+')) << 20) if memory.rstrip('+').isdigit() else memory}"
        kind = size + ("" if gres in ("(null)", "") else f", {gres}")
        own = kinds.setdefault(partition.rstrip("*"), {})
        own[kind] = own.get(kind, 0) + (int(count) if count.isdigit() else 0)
    return {
        name: ", ".join(f"{counted(count, 'node')} of {kind}" for kind, count in own.items())
        for name, own in kinds.items()
    }


def _accounting(answers: Answers) -> Iterator[Finding]:
    kind = answers.values.get("AccountingStorageType", "").removeprefix("accounting_storage/")
    without = (
        "without it, why Slurm ended a task is read from its journal and its log, and from the controller, which forgets a job "
        f"{answers.values.get('MinJobAge', '300 sec')} after its end; limits of accounts are found by trying"
    )
    if kind in ("", "none", "(null)"):
        yield Finding("accounting", "none", without)
    elif problem := answers.problems.get("accounting"):
        yield Finding("accounting", f"{kind}, does not answer", f"{problem}; {without}")
    else:
        yield Finding("accounting", f"{kind}, answers")
    if problem := answers.problems.get("limits"):
        if kind not in ("", "none", "(null)"):
            yield Finding("your limits", "unknown", f"{problem}; they are found by trying")
        return
    bound = "" if heeds_limits(answers.values.get("AccountingStorageEnforce", "")) else " (no limit is enforced here)"
    for row in answers.texts.get("limits", "").splitlines():
        cluster, account, partition, qos, jobs = (row.split("|") + [""] * 5)[:5]
        if cluster == answers.values.get("ClusterName"):
            where = f" in {partition}" if partition else ""
            yield Finding(
                "your account", f"{account}{where}: QOS {qos or 'none'}, jobs at a time: {jobs or 'no limit'}{bound}"
            )


def _bounds(values: Mapping[str, str]) -> Iterator[Finding]:
    """What Slurm keeps jobs to."""
    plugins = values.get("TaskPlugin", "")
    constrained = {
        name for name in ("RAMSpace", "Cores", "Devices") if values.get(f"Constrain{name}", "no").lower() == "yes"
    }
    is_bound = "cgroup" in plugins and "RAMSpace" in constrained
    yield Finding(
        "memory",
        "bound by cgroups" if is_bound else "not bound by cgroups",
        ""
        if is_bound
        else "an array task keeps itself to what was asked for (slurm.mem), and ends a process that takes more",
    )
    binds = "affinity" in plugins or ("cgroup" in plugins and "Cores" in constrained)
    yield Finding(
        "CPUs",
        "bound by Slurm" if binds else "not bound",
        "" if binds else "an array task keeps itself to what was asked for; what a Job starts may take those of others",
    )
    if "gpu" in values.get("GresTypes", ""):
        hidden = "cgroup" in plugins and "Devices" in constrained
        yield Finding(
            "GPUs", "those of others are hidden" if hidden else "those of others are hidden by variables alone"
        )


def _habits(values: Mapping[str, str], grace: int) -> Iterator[Finding]:
    """What Slurm does to jobs that run."""
    yield from _bounds(values)
    preemption = values.get("PreemptType", "preempt/none").removeprefix("preempt/")
    mode = "" if preemption in ("none", "(null)") else f", {values.get('PreemptMode', '?')}"
    yield Finding("preemption", f"{'none' if preemption == '(null)' else preemption}{mode}")
    wait, over = values.get("KillWait", "?"), values.get("OverTimeLimit", "0 min")
    yield Finding(
        "at the end",
        f"SIGKILL comes {wait} after SIGTERM" + ("" if over.startswith("0") else f", {over} after the time limit")
        + f"; JobRequeue={values.get('JobRequeue', '?')}",
        f"less than a task may take to leave (slurm.grace: {grace} s): of what is cancelled, the batch at hand is lost"
        if (number := wait.partition(" ")[0]).isdigit() and int(number) < grace else "",
    )  # fmt: skip
    if "jobs" in values.get("PrivateData", ""):
        yield Finding(
            "PrivateData", "jobs", "of a run of another user only that user can tell whether its jobs wait or run"
        )


def _environment(resources: "Resources") -> Iterator[Finding]:
    for name, value in resources.options.items():
        yield Finding("environment", f"SBATCH_* of this shell ask for {name}={value}: over profiles, under the config")
    if conf := os.environ.get("SLURM_CONF"):
        yield Finding("environment", f"SLURM_CONF={conf}")
