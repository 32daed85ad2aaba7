"""Failures: what the kinds mean, which are worth another attempt, and what the user can do. Pure.

Used by status (groups and advice) and by finalize (what is tried again). A Failure comes from a journal's end record,
from the exit status of an array task, or from the scheduler; a group joins those that say the same.
"""

import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# The contract with `python -m jobs`.
EXIT_DONE, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_NO_DISK, EXIT_STOPPED = 0, 1, 2, 74, 75

NO_DISK_MESSAGE = "the run directory cannot be written (disk full, quota, I/O error?), not even to say more"

MAX_GROUPS = 200
_OTHER = "(other messages; see the logs)"

# Another attempt may end differently by itself. The rest fails the same way again until somebody changes something.
RETRIED = frozenset({"NODE_FAIL", "PREEMPTED", "LAUNCH", "CRASH", "LOST"})
# Another attempt may end differently when it gets more of what ran out; an executor without limits to raise gives up.
RETRIED_WITH_MORE = {"OUT_OF_MEMORY": "memory", "TIMEOUT": "time"}
# Nobody's fault: such an attempt does not count against retry.attempts. (Slurm requeues most preempted jobs itself.)
COSTS_NO_ATTEMPT = frozenset({"PREEMPTED"})

_ADVICE = {
    "OUT_OF_MEMORY": "give it more memory ({why}): launcher rerun {run} --shards {shards} --mem {mem}",
    "TIMEOUT": "give it more time, it goes on where it stopped: launcher rerun {run} --shards {shards} --time 4:00:00",
    "NODE_FAIL": "the node failed, not the job: launcher rerun {run} --shards {shards}",
    "PREEMPTED": "another job took the node: launcher rerun {run} --shards {shards}",
    "CANCELLED": "it was cancelled; to go on: launcher rerun {run} --shards {shards}",
    "LAUNCH": "the task never started: launcher logs {run} {shard}, then: launcher rerun {run} --shards {shards}",
    "CRASH": "a process was killed or crashed (memory, a native library?): launcher logs {run} {shard}; "
    "then: launcher rerun {run} --shards {shards}",
    "ERROR": "the Job raised an exception: launcher logs {run} {shard}; correct it, then: "
    "launcher rerun {run} --shards {shards}",
    "TOO_MANY_FAILED_SAMPLES": "correct the samples' cause (below) or allow more: launcher rerun {run} --shards {shards} "
    "--set node.max_failed_samples=0.05",
    "DISK": "make room (disk, quota) or mend the file system, then: launcher rerun {run} --shards {shards}",
    "LOST": "the task ended without a word (a reboot, kill -9): launcher rerun {run} --shards {shards}",
}
_SAMPLE_ADVICE = {
    "OUT_OF_MEMORY": "to give more memory and try these samples again: launcher rerun {run} --shards {shards} --mem {mem}",
    "SAMPLE_TIMEOUT": "to allow more time and try again: launcher rerun {run} --shards {shards} "
    "--set node.sample_timeout=3600",
}
_ANY_SAMPLE = "to try these samples again: launcher rerun {run} --shards {shards}"


@dataclass(frozen=True)
class Failure:
    """Why a shard, or ``samples`` samples of it, failed. ``samples`` is 0 where the shard itself failed."""

    kind: str
    message: str
    shard: int
    samples: int = 0


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one kind that say the same; ``message`` is the first of them, ``samples`` counts failed samples."""

    kind: str
    message: str
    shards: tuple[int, ...]
    samples: int

    def to_json(self, advice: str) -> dict[str, Any]:
        shards = list(self.shards)
        return {"kind": self.kind, "message": self.message, "shards": shards, "samples": self.samples, "advice": advice}


_VARYING = (
    (re.compile(r"(?:\b[A-Za-z]+:)?(?:~|\.{1,2})?(?:/[^\s/:'\"(),]+)+/?"), "PATH"),
    (re.compile(r"\b[\w.-]+(?:/[\w.-]+)+"), "PATH"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "N"),
    (re.compile(r"\d+(?:\.\d+)?"), "N"),
)


def normalise(message: str) -> str:
    """The message with paths and numbers replaced, so that the same cause in two places reads the same."""
    for pattern, name in _VARYING:
        message = pattern.sub(name, message)
    return message


def group(failures: Iterable[Failure]) -> list[FailureGroup]:
    """Failures by kind and normalised message: shards' own failures first, then the largest groups.

    There are at most MAX_GROUPS and one more for each kind, however many messages differ.
    """
    shards: dict[tuple[str, str, bool], set[int]] = {}
    samples: dict[tuple[str, str, bool], int] = {}
    messages: dict[tuple[str, str, bool], str] = {}
    for failure in failures:
        key = (failure.kind, normalise(failure.message), failure.samples > 0)
        if key not in messages and len(messages) >= MAX_GROUPS:
            key = (failure.kind, _OTHER, failure.samples > 0)
        messages.setdefault(key, _OTHER if key[1] == _OTHER else failure.message)
        shards.setdefault(key, set()).add(failure.shard)
        samples[key] = samples.get(key, 0) + failure.samples
    groups = [FailureGroup(key[0], messages[key], tuple(sorted(shards[key])), samples[key]) for key in messages]
    return sorted(groups, key=lambda g: (g.samples > 0, -g.samples, -len(g.shards), g.kind))


def advice(
    group: FailureGroup,
    run: str,
    ranges: str,
    own: Mapping[str, str],
    memory: tuple[str, str] = ("64G", "it ran out"),
) -> str:
    """What to do, with the exact command. ``run`` names the run as the command line takes it; ``ranges`` are the shards.

    ``own`` is the executor's advice, which comes first; ``memory`` is how much to ask for after OUT_OF_MEMORY, and why.
    """
    usual = _SAMPLE_ADVICE.get(group.kind, _ANY_SAMPLE) if group.samples else _ADVICE.get(group.kind, _ADVICE["ERROR"])
    text = own.get(group.kind, usual)
    return text.format(run=run, shards=ranges, shard=group.shards[0], mem=memory[0], why=memory[1])


def is_retried(kind: str, *, can_give_more: bool) -> bool:
    """Whether another attempt, without a change by the user, makes sense."""
    return kind in RETRIED or (can_give_more and kind in RETRIED_WITH_MORE)


def from_exit_status(status: int, shard: int, last_words: str) -> Failure:
    """The failure of a shard whose array task ended with ``status`` (as Popen gives it) and left no end in the journal.

    ``last_words`` is the end of its log.
    """
    if status < 0:
        name = signal.Signals(-status).name if -status in signal.valid_signals() else f"signal {-status}"
        hint = "; the kernel does this when memory runs out" if -status == signal.SIGKILL else ""
        return Failure("CRASH", f"the array task was killed by {name}{hint}", shard)
    if status == EXIT_DONE:
        return Failure("LOST", "the array task ended well, but the shard is not done", shard)
    if status == EXIT_NO_DISK:
        return Failure("DISK", NO_DISK_MESSAGE, shard)
    ended = f"the array task ended with exit status {status}"
    return Failure("LAUNCH", f"{ended}: {last_words}" if last_words else ended, shard)
