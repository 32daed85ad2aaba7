"""Evidence: what Slurm's accounting says of array elements, turned into failures of shards. Pure; used by finalize jobs.

A journal's own end record always comes first: accounting is asked only about attempts that ended without a word, or were
told to leave.
"""

from collections.abc import Iterable

from jobs import exit_codes
from launcher.runs.failures import NO_DISK_MESSAGE, Failure
from launcher.slurm.scheduler import Accounted

# State of sacct(1), section JOB STATE CODES -> failure kind.
_KINDS = {
    "OUT_OF_MEMORY": "OUT_OF_MEMORY",
    "TIMEOUT": "TIMEOUT",
    "DEADLINE": "TIMEOUT",
    "NODE_FAIL": "NODE_FAIL",
    "BOOT_FAIL": "NODE_FAIL",
    "PREEMPTED": "PREEMPTED",
    "CANCELLED": "CANCELLED",
    "REVOKED": "CANCELLED",
}
_OOM_SIGNAL = "0:125"
# REQUEUED is how a start ended, not the element.
_GOING_ON = frozenset(
    {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "STAGE_OUT", "REQUEUED", "RESIZING", "SUSPENDED"}
)


def judge(row: Accounted | None, shard: int, *, began: bool, words: str) -> Failure:
    """Why an element left its shard undone. ``began``: its journal has the attempt; ``words``: the end of its log."""
    if row is None:
        return Failure("LOST", "Slurm knows nothing of the array task, and it left no end in its journal", shard)
    where = f" on {row.node}" if row.node and not row.node.startswith("None") else ""
    kind = "OUT_OF_MEMORY" if row.exit_code == _OOM_SIGNAL else _KINDS.get(row.state)
    if kind == "OUT_OF_MEMORY":
        return Failure(kind, f"Slurm ended the array task{where}: out of memory ({row.asked_memory} asked)", shard)
    if kind == "TIMEOUT":
        return Failure(kind, f"the time limit ({row.asked_time}) came before the array task could leave{where}", shard)
    if kind:
        return Failure(kind, f"Slurm says {row.state}{where}", shard)
    return _unexplained(row, shard, where, began, words)


def _unexplained(row: Accounted, shard: int, where: str, began: bool, words: str) -> Failure:
    """States COMPLETED and FAILED: only the exit status and the log tell more."""
    status, _, signal_number = row.exit_code.partition(":")
    said = f": {words}" if words else ""
    if status == str(exit_codes.NO_DISK):
        return Failure("DISK", f"{NO_DISK_MESSAGE}{where}", shard)
    if not began:
        return Failure("LAUNCH", f"the array task never started{where}, exit status {status}{said}", shard)
    if signal_number not in ("", "0"):
        return Failure("CRASH", f"the array task was killed by signal {signal_number}{where}", shard)
    if row.state == "COMPLETED":
        return Failure("LOST", f"Slurm says COMPLETED{where}, but the shard is not done", shard)
    ended = f"the array task ended{where} with exit status {status} and left no end in its journal"
    return Failure("LOST", f"{ended}{said}", shard)


def has_ended(row: Accounted | None) -> bool:
    """Whether the accounting knows how an element ended; what the controller knows reaches it later."""
    return row is not None and row.state not in _GOING_ON


def by_element(rows: Iterable[Accounted]) -> dict[int | None, Accounted]:
    """Rows of one array by index."""
    return {row.index: row for row in rows}
