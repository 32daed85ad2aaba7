"""Accounting: what sacct says of array elements, turned into failures of shards and into what their attempts had. Pure.

A journal's own end record always comes first: accounting is asked only about attempts that ended without a word, or had to
leave.
"""

import signal
from collections.abc import Iterable, Sequence

from jobs import exit_codes
from jobs.kinds import FailureKind
from launcher.retry.policy import Allocation
from launcher.runs.failures import NO_DISK_MESSAGE, Failure
from launcher.slurm.parsers import Accounted, amount
from launcher.units import parse_memory, parse_time, short_size

# State of sacct(1), section JOB STATE CODES -> failure kind.
_KINDS = {
    "OUT_OF_MEMORY": FailureKind.OUT_OF_MEMORY,
    "TIMEOUT": FailureKind.TIMEOUT,
    "DEADLINE": FailureKind.TIMEOUT,
    "NODE_FAIL": FailureKind.NODE_FAIL,
    "BOOT_FAIL": FailureKind.NODE_FAIL,
    "PREEMPTED": FailureKind.PREEMPTED,
    "CANCELLED": FailureKind.CANCELLED,
    "REVOKED": FailureKind.CANCELLED,
}
# States that somebody else decided on; the task may have left in good order after that.
_TAKEN = frozenset({"CANCELLED", "NODE_FAIL", "PREEMPTED"})
_OOM_SIGNAL = "0:125"
# REQUEUED is how a start ended, not the element. Of job_state_string in src/common/slurm_protocol_defs.c, 20.11 to 25.11.
_GOING_ON = frozenset(
    {
        "PENDING", "RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING", "EXPEDITING", "RESIZING", "SIGNALING", "STAGE_OUT",
        "STOPPED", "REQUEUED", "REQUEUED_CRON", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT",
    }
)  # fmt: skip


def judge(row: Accounted | None, shard: int, *, began: bool, words: str) -> Failure:
    """Why an element left its shard undone. ``began``: its journal has the attempt; ``words``: the end of its log."""
    if row is None:
        return Failure(
            FailureKind.LOST, "Slurm knows nothing of the array task, and it left no end in its journal", shard
        )
    where = f" on {node}" if (node := _node(row)) else ""
    kind = FailureKind.OUT_OF_MEMORY if row.exit_code == _OOM_SIGNAL else _KINDS.get(row.state)
    if kind is FailureKind.OUT_OF_MEMORY:
        asked = f" ({row.asked_memory} asked)" if row.asked_memory else ""
        return Failure(kind, f"Slurm ended the array task{where}: out of memory{asked}", shard)
    if kind is FailureKind.TIMEOUT:
        asked = f" ({row.asked_time})" if row.asked_time else ""
        return Failure(kind, f"the time limit{asked} came before the array task could leave{where}", shard)
    if kind:
        return Failure(kind, f"Slurm says {row.state}{where}", shard)
    return _unexplained(row, shard, where, began, words)


def _unexplained(row: Accounted, shard: int, where: str, began: bool, words: str) -> Failure:
    """States COMPLETED and FAILED: only the exit status and the log tell more."""
    status, _, signal_number = row.exit_code.partition(":")
    said = f": {words}" if words else ""
    if status == str(exit_codes.NO_DISK):
        return Failure(FailureKind.DISK, f"{NO_DISK_MESSAGE}{where}", shard)
    if not began:
        return Failure(FailureKind.LAUNCH, f"the array task never started{where}, exit status {status}{said}", shard)
    if signal_number == str(int(signal.SIGKILL)) and row.memory > (allocation(row).memory or row.memory):
        taken = f"it was seen with {short_size(row.memory)}, {row.asked_memory} asked"
        return Failure(FailureKind.OUT_OF_MEMORY, f"the array task was killed{where}: {taken}", shard)
    if signal_number not in ("", "0"):
        return Failure(FailureKind.CRASH, f"the array task was killed by signal {signal_number}{where}", shard)
    if row.state == "COMPLETED":
        return Failure(FailureKind.LOST, f"Slurm says COMPLETED{where}, but the shard is not done", shard)
    ended = f"the array task ended{where} with exit status {status} and left no end in its journal"
    return Failure(FailureKind.LOST, f"{ended}{said}", shard)


def allocation(row: Accounted) -> Allocation:
    """What an element had."""
    memory = amount(parse_memory, row.asked_memory)
    if memory and row.asked_memory.endswith("c"):
        memory *= max(row.cpus, 1)
    return Allocation(_node(row), memory, amount(parse_time, row.asked_time))


def _node(row: Accounted) -> str | None:
    """Slurm writes ``None assigned``, or ``(null)``, for an element that never got one."""
    return row.node if row.node and not row.node.startswith(("None", "(null)")) else None


def was_taken(row: Accounted | None) -> bool:
    """Whether somebody else ended the element: a person, the node, a job that was more urgent."""
    return row is not None and row.state in _TAKEN


def has_ended(row: Accounted | None) -> bool:
    """Whether the accounting knows how an element ended; what the controller knows reaches it later."""
    return row is not None and row.state not in _GOING_ON


def by_element(rows: Iterable[Accounted], single_jobs: Sequence[str] = ()) -> dict[int | None, Accounted]:
    """Rows of one array by index; of array tasks that are jobs of their own, by their place among these."""
    places = {job_id: index for index, job_id in enumerate(single_jobs)}
    return {places.get(row.job_id, row.index): row for row in rows}
