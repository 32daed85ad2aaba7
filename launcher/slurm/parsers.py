"""Parsers of what Slurm's commands said. Pure.

Errors of sbatch are sorted into those worth another try, those that mean "no more now", and those that the user has to mend.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

_PASSING = (
    "Socket timed out",
    "Unable to contact slurm controller",
    "backup controller",
    "Connection refused",
    "Connection reset",
    "Connection timed out",
    "Zero Bytes were transmitted",
    "Transport endpoint is not connected",
    "Resource temporarily unavailable",
    "Message timeout",
    "Unexpected missing socket error",
    "Munge encode failed",
    "Protocol authentication error",
)
# No slurm.conf, and no server that has one.
_NOT_CONFIGURED = (
    "Could not establish a configuration source",
    "unable to status file",
    "cannot stat file",
    "Unable to process configuration file",
)
# The limits on jobs that wait or run, as Slurm's src/common/slurm_protocol_defs.c names them: QOSMaxSubmitJobPerUserLimit,
# AssocGrpSubmitJobsLimit ... All other limits of the same kind stay as they are, however long one waits.
_SUBMIT_LIMIT = re.compile(r"(?:Assoc|QOS)\w*SubmitJob\w*")
_OTHER_LIMIT = re.compile(r"\b(?:Assoc|QOS)[A-Z]\w+")
_ANY_LIMIT = "Job violates accounting/QOS policy"
# MaxJobCount is reached, by the jobs of all users; sbatch itself has tried for two minutes (src/sbatch/sbatch.c).
_QUEUE_FULL = ("Slurm job queue full", "Slurm temporarily unable to accept job", "Job creation temporarily disabled")

# ESLURM_REQUESTED_PART_CONFIG_UNAVAILABLE, ESLURM_NODE_NOT_AVAIL and ESLURM_NODES_BUSY of src/common/slurm_errno.c.
_BUSY = (
    "Requested partition configuration not available now",
    "Required node not available (down, drained or reserved)",
    "Requested nodes are busy",
)

# MAX_JOB_ID of slurm.h: above it are the bits for a cluster of a federation.
_LARGEST_OWN_ID = 0x03FFFFFF


class JobId(NamedTuple):
    """A job of a cluster (None: of the one that is asked without naming any); two clusters may have the same number."""

    number: str
    cluster: str | None = None

    @property
    def is_federated(self) -> bool:
        """Whether clusters that share their jobs gave the number: it begins with which of them it was."""
        return int(self.number) > _LARGEST_OWN_ID

    def may_be(self, other: "JobId") -> bool:
        """Whether it is the same job, as far as both name their cluster."""
        return self.number == other.number and (self.cluster == other.cluster or None in (self.cluster, other.cluster))


@dataclass(frozen=True)
class Accounted:
    """How Slurm's accounting says that an array element ended.

    ``memory`` is MaxRSS in bytes, 0 where unknown; ``asked_memory`` (before Slurm 21.08 of each CPU, ``100Mc``) and
    ``asked_time`` are as Slurm writes them.
    """

    job_id: str
    index: int | None
    state: str
    exit_code: str
    node: str
    memory: int
    asked_memory: str
    asked_time: str
    cpus: int = 1


ACCOUNTED_FIELDS = "JobID,State,ExitCode,NodeList,MaxRSS,ReqMem,Timelimit,NCPUS"
# The job, an element of it or those that never started, and a step; other lines are those of a site's wrapper.
_JOB = re.compile(r"(\d{1,18}(?:_(?:\d{1,9}|\[[^\[\]]*\]))?)(\..+)?", re.ASCII)
_MOST_ELEMENTS = 4_000_001
"""Slurm's own limit of MaxArraySize."""


def is_not_configured(problem: str) -> bool:
    """Whether Slurm's commands do not know of any cluster."""
    return any(text in problem for text in _NOT_CONFIGURED)


def said(text: str) -> str:
    """The errors among the lines that a command has left; all lines where none is marked as one."""
    lines = [line for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if "error: " in line or "fatal: " in line]
    return " ".join(line.split("error: ", 1)[-1].strip() for line in marked or lines) or "no message"


def read_job_id(text: str) -> JobId | None:
    """The id in what ``sbatch --parsable`` wrote: ``123``, or ``123;cluster``; None where no line, or several, are one.

    Other lines are those of a site's wrapper around sbatch.
    """
    lines = re.findall(r"^([0-9]{1,18})(?:;(\S+))?$", text, re.MULTILINE)
    found = {JobId(number, cluster or None) for number, cluster in lines}
    return found.pop() if len(found) == 1 else None


def is_passing(problem: str) -> bool:
    """Whether the same call may succeed in a while: Slurm did not answer, or not in time."""
    return any(text in problem for text in _PASSING)


def is_about_arrays(problem: str) -> bool:
    """Whether it may be the array that Slurm does not take: MaxArraySize is 0 or 1, or a plugin of the site refuses them."""
    return re.search(r"\barrays?\b", problem, re.IGNORECASE) is not None


def is_busy(problem: str) -> bool:
    """Whether ``sbatch --test-only`` only says that no node is free for it now."""
    return any(text in problem for text in _BUSY)


def is_wrong_place(problem: str) -> bool:
    """Whether Slurm takes the same script from another machine: AllocNodes of a partition does not have this one."""
    return "Access/permission denied" in problem


def is_submit_limit(problem: str) -> bool:
    """Whether Slurm takes the same script once fewer jobs of this user, or of those he shares a limit with, wait or run."""
    if _SUBMIT_LIMIT.search(problem):
        return True
    return _ANY_LIMIT in problem and not _OTHER_LIMIT.search(problem)


def is_queue_full(problem: str) -> bool:
    """Whether Slurm takes the same script once fewer jobs of all users wait or run."""
    return any(text in problem for text in _QUEUE_FULL)


def is_for_now(problem: str) -> bool:
    """Whether Slurm takes the same script later: what ``sbatch --test-only`` says against it passes by itself."""
    return is_busy(problem) or is_submit_limit(problem) or is_queue_full(problem)


def read_accounting(text: str) -> Iterator[Accounted]:
    """Elements from sacct's rows: an element's own line tells its state; MaxRSS stands in the lines of its steps.

    Elements that never started share a line, such as 12_[3-7]; it may be older than one of their own.
    """
    memory: dict[str, int] = {}
    rows: dict[str, list[str]] = {}
    for job, step, fields in _accounted(text):
        memory[job] = max(memory.get(job, 0), _bytes(fields[4]))
        if "[" in job:
            array, _, indices = job.partition("[")
            rows = dict.fromkeys((f"{array}{index}" for index in elements(indices)), fields) | rows
        elif not step:
            rows[job] = fields  # of a requeued element the last line counts
    for job, (_, state, code, node, _, asked_memory, asked_time, *cpus) in rows.items():
        array, _, index = job.partition("_")
        element = int(index) if index else None
        count = int(cpus[0]) if cpus and cpus[0].isdigit() else 1
        state = state.split()[0]
        yield Accounted(array, element, state, code, node, memory.get(job, 0), asked_memory, asked_time, count)


def read_jobs(text: str) -> Iterator[Accounted]:
    """Elements from ``scontrol --oneliner show job``: what the controller knows of them, for minutes after their end."""
    for line in text.splitlines():
        # Of equal names the first: what follows may be of a path or a comment.
        fields: dict[str, str] = dict(reversed(re.findall(r"(\S+?)=(\S*)", line)))
        if "JobState" not in fields:
            continue
        per_cpu, per_node = fields.get("MinMemoryCPU"), fields.get("MinMemoryNode")
        known = Accounted(
            fields.get("ArrayJobId", fields["JobId"]),
            None,
            fields["JobState"],
            fields.get("ExitCode", ""),
            fields.get("NodeList", ""),
            0,
            f"{per_cpu}c" if per_cpu else f"{per_node}n" if per_node else "",
            fields.get("TimeLimit", ""),
            int(found[0]) if (found := re.findall(r"\d+", fields.get("NumCPUs", ""))) else 1,
        )
        indices = fields.get("ArrayTaskId")
        yield from (replace(known, index=index) for index in elements(indices)) if indices else [known]


def _accounted(text: str) -> Iterator[tuple[str, str | None, list[str]]]:
    """Job, step and all fields of each line that is one of sacct's."""
    for line in text.splitlines():
        fields = line.split("|")
        match = _JOB.fullmatch(fields[0])
        if match and len(fields) > ACCOUNTED_FIELDS.count(",") and fields[1].strip():
            yield match[1], match[2], fields


def elements(indices: str) -> list[int]:
    """``0-6:2,9%4`` -> 0, 2, 4, 6, 9: % begins how many may run at a time, : a step; with ... Slurm cuts long ones short."""
    parts = re.findall(r"\b(\d{1,9})(?:-(\d{1,9}))?(?::(\d{1,9}))?\b", indices.partition("%")[0], re.ASCII)
    ranges = [range(int(first), int(last or first) + 1, int(step or 1) or 1) for first, last, step in parts]
    if sum(map(len, ranges)) > _MOST_ELEMENTS:
        return []
    return [index for range_ in ranges for index in range_]


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)([KMGTP]?)", text, re.ASCII)
    return int(float(match[1]) * 1024 ** " KMGTP".index(match[2] or " ")) if match else 0


def amount(parse: Callable[[str], int], text: str | None) -> int | None:
    """Bytes or seconds of what Slurm writes, None where it is none: UNLIMITED, nothing. n or c mean per node or CPU."""
    try:
        return parse(text.rstrip("nc")) if text else None
    except ValueError:
        return None
