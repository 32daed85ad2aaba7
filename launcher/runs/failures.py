"""Failures: why shards and samples of a run failed, and, in groups, what the user can do about it. Pure.

A Failure comes from a beat, from the exit status of an array task, or from the scheduler; a group joins those that say
the same.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from jobs import exit_codes
from jobs.kinds import AnyFailureKind, FailureKind, Unknown
from jobs.storage.sample_failures import OTHER_MESSAGES, SampleFailures, normalise
from jobs.storage.spans import Spans, union
from jobs.storage.submission import NodeSettings
from launcher.runs.causes import SAMPLES_AGAIN, cause

if TYPE_CHECKING:
    from launcher.documents.status import FailureDocument

NO_DISK_MESSAGE = "the run directory cannot be written (disk full, quota, I/O error?), not even to say more"

MAX_GROUPS = 200
MAX_EXAMPLES = 3


@dataclass(frozen=True)
class Failure:
    """Why a shard, or ``samples`` samples of it, failed. ``samples`` is 0 where the shard itself failed."""

    kind: AnyFailureKind
    message: str
    shard: int
    samples: int = 0
    examples: ClassVar[tuple[str, ...]] = ()

    @property
    def shards(self) -> Spans:
        return Spans([(self.shard, self.shard + 1)])


@dataclass(frozen=True)
class ShardFailures:
    """Why some shards failed, all of them alike."""

    kind: FailureKind | Unknown
    message: str
    shards: Spans
    samples: ClassVar[int] = 0
    examples: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one kind that say the same; ``message`` is that of the lowest shard, ``samples`` counts failed samples.

    ``examples`` are the ids of some of these.
    """

    kind: AnyFailureKind
    message: str
    shards: Spans
    samples: int
    examples: tuple[str, ...] = ()

    def to_json(self, advice: str) -> "FailureDocument":
        found: FailureDocument = {
            "kind": self.kind,
            "message": self.message,
            "shards": list(self.shards.numbers),
            "samples": self.samples,
            "blame": cause(self.kind).blame,
            "advice": advice,
        }
        if self.examples:
            found["examples"] = list(self.examples)
        return found


AnyFailure: TypeAlias = Failure | ShardFailures | SampleFailures


def group(failures: Iterable[AnyFailure]) -> list[FailureGroup]:
    """Failures by kind and normalised message: shards' own failures first, then the largest groups.

    There are at most MAX_GROUPS and one more for each kind, however many messages differ.
    """
    alike: dict[tuple[AnyFailureKind, str, bool], list[AnyFailure]] = {}
    for failure in failures:
        key = (failure.kind, normalise(failure.message), failure.samples > 0)
        if key not in alike and len(alike) >= MAX_GROUPS:
            key = (failure.kind, OTHER_MESSAGES, failure.samples > 0)
        alike.setdefault(key, []).append(failure)
    groups = [_join(kind, many, is_rest=text == OTHER_MESSAGES) for (kind, text, _), many in alike.items()]
    return sorted(groups, key=lambda g: (g.samples > 0, -g.samples, -g.shards.count, g.kind))


def _join(kind: AnyFailureKind, alike: Sequence[AnyFailure], *, is_rest: bool) -> FailureGroup:
    """Their group, with the message of the lowest shard, so that it is the same whoever came first."""
    message = min(alike, key=lambda failure: next(iter(failure.shards), (0, 0))).message
    if kind is FailureKind.TOO_MANY_FAILED_SAMPLES:
        # Its message begins with how many samples of a shard failed: the one with the most.
        messages = {failure.message for failure in alike}
        worst = max(messages, key=lambda text: (text.partition(" ")[0].zfill(20), text))
        message = worst if len(messages) == 1 else f"up to {worst}"
    shards = union(failure.shards for failure in alike)
    samples = sum(failure.samples for failure in alike)
    examples = sorted({example for failure in alike for example in failure.examples}, key=_by_numbers)
    return FailureGroup(kind, OTHER_MESSAGES if is_rest else message, shards, samples, tuple(examples[:MAX_EXAMPLES]))


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """An order in which 9 comes before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name)]


def advice(
    group: FailureGroup,
    run: str,
    own: Mapping[AnyFailureKind, str],
    memory: tuple[str, str] = ("64G", "it ran out"),
    allow: str | None = "1.0",
    *,
    has_results: bool = True,
) -> str:
    """What to do, with the exact command. ``run`` names the run as the command line takes it.

    ``own`` is the executor's advice, which comes first; ``memory`` is how much to ask for after OUT_OF_MEMORY, and why;
    ``allow`` a node.max_failed_samples that suffices, None where that would hide a fault of all. Without results a run may go
    on whatever has changed, and all of it is to be done.
    """
    usual = SAMPLES_AGAIN if group.samples and isinstance(group.kind, Unknown) else cause(group.kind).advice
    text = own.get(group.kind, usual)
    rerun, anew = f"launcher rerun {run}", ""
    if has_results or group.samples:
        rerun += f" --shards {group.shards.coarse()}"
    if has_results:
        anew = " --keep-results where what is done stays right, or --fresh"
    or_allow = f"; or allow it: {rerun} --set node.max_failed_samples={allow}" if allow else ""
    fields = {"rerun": rerun, "or_anew": anew, "run": run, "shard": group.shards.first}
    return text.format(**fields, mem=memory[0], why=memory[1], or_allow=or_allow)


def too_many_failed(shard: int, failed: int, rows: int, node: NodeSettings) -> Failure | None:
    """The failure of a shard of so many rows of which so many samples failed; None where they may."""
    budget = node.failure_budget(rows)
    if failed <= budget:
        return None
    message = f"{failed} of {rows} samples failed, {budget} may (node.max_failed_samples)"
    return Failure(FailureKind.TOO_MANY_FAILED_SAMPLES, message, shard)


def from_exit_status(status: int, shard: int, last_words: str, *, by_kernel: bool = False) -> Failure:
    """The failure of a shard whose array task ended with ``status`` (as Popen gives it) and left no end in the journal.

    ``last_words`` is the end of its log; ``by_kernel``: the kernel killed it for its memory.
    """
    if by_kernel:
        return Failure(FailureKind.OUT_OF_MEMORY, "the kernel killed the array task: memory ran out", shard)
    if status < 0:
        return Failure(FailureKind.CRASH, f"the array task was killed by {exit_codes.signal_name(-status)}", shard)
    if status == exit_codes.DONE:
        return Failure(FailureKind.LOST, "the array task ended well, but the shard is not done", shard)
    if status == exit_codes.NO_DISK:
        return Failure(FailureKind.DISK, NO_DISK_MESSAGE, shard)
    ended = f"the array task ended with exit status {status}"
    return Failure(FailureKind.LAUNCH, f"{ended}: {last_words}" if last_words else ended, shard)
