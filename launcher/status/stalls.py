"""Stalls: array tasks that finish nothing, or write nothing, for long, and nodes that are much slower than the others.

By the last beats alone: how long a batch takes in this run, they tell too. It decides nothing.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.storage.attempts import Attempt
from jobs.storage.plans import Plan
from jobs.storage.submission import Submission
from launcher.runs.shard_states import Shards
from launcher.runs.submissions import SubmissionState

if TYPE_CHECKING:
    from launcher.documents.status import SlowNodeDocument, StalledDocument

# A batch that takes so many times as long as they do in this run, and so many sync intervals, is pointed out; so are
# attempts that have not written for so many intervals.
_BATCHES = 10
_INTERVALS = 6
# So many batches tell how fast a node is; slow is one below this share of what the others do, if there are so many others.
_KNOWN_BATCHES = 5
_SLOW = 0.5
_OTHERS = 2


@dataclass(frozen=True)
class Stalled:
    """An attempt that has work, whose beats come, and that has finished nothing for ``seconds``; a batch takes ``batch``."""

    attempt: str
    node: str
    seconds: float
    batch: float

    def to_json(self) -> "StalledDocument":
        return {
            "attempt": self.attempt,
            "node": self.node,
            "seconds": round(self.seconds, 1),
            "batch_seconds": round(self.batch, 3),
        }


@dataclass(frozen=True)
class SlowNode:
    """A node, with the rows a second of one of its processes, and the median of the other nodes."""

    node: str
    rate: float
    others: float

    def to_json(self) -> "SlowNodeDocument":
        return {
            "node": self.node,
            "samples_per_second": round(self.rate, 3),
            "samples_per_second_elsewhere": round(self.others, 3),
        }


@dataclass(frozen=True)
class Laggards:
    """Both of them, and the names of attempts that are among them, or that do much less than the others."""

    stalled: tuple[Stalled, ...] = ()
    slow_nodes: tuple[SlowNode, ...] = ()
    attempts: frozenset[str] = frozenset()

    @property
    def nodes(self) -> list[str]:
        """Their names."""
        return sorted({*(slow.node for slow in self.slow_nodes), *(one.node for one in self.stalled if one.node)})


def find_laggards(plan: Plan, shards: Shards, submissions: Sequence[SubmissionState]) -> Laggards:
    """By the attempts of the newest submission, and of others that go on."""
    numbers = {one.number: one.submission for one in submissions if one.is_open or one is submissions[-1]}
    recent = [attempt for attempt in shards.attempts if attempt.submission in numbers]
    stalled, nodes = tuple(find_stalled(plan, recent, shards.live, numbers)), find_slow_nodes(plan, recent)
    live = [attempt for attempt in recent if attempt.name in shards.live]
    slow = find_slow_attempts(plan, live, {slow.node for slow in nodes})
    return Laggards(stalled, nodes, frozenset({*slow, *(one.attempt for one in stalled)}))


def find_silent(shards: Shards, submissions: Sequence[SubmissionState]) -> Iterator[str]:
    """Attempts that go on as far as anybody knows, and have not written for long. By clocks, so it decides nothing."""
    now, intervals = time.time(), {one.number: one.submission.node.sync_interval for one in submissions}
    for attempt in shards.attempts:
        if attempt.name in shards.live:
            heard = max(attempt.beat.time, attempt.start.time if attempt.start else 0)
            if now - heard > _INTERVALS * intervals.get(attempt.submission, now):
                yield attempt.name


def find_stalled(
    plan: Plan, attempts: Sequence[Attempt], live: Collection[str], submissions: Mapping[int, Submission]
) -> Iterator[Stalled]:
    """Of the attempts that are ``live``, those that do not get on; none before some batches have told how long one takes."""
    rates = [rate for attempt in attempts if (rate := _rate(attempt))]
    setup = max((attempt.beat.setup for attempt in attempts), default=0.0)
    if not rates:
        return
    usual = _median(rates)
    for attempt in attempts:
        beat, submission = attempt.beat, submissions.get(attempt.submission)
        if attempt.name in live and submission:
            batch = plan.batch_size / min(usual, _rate(attempt) or usual)
            expected = batch if beat.setup else batch + setup
            if beat.quiet > max(_BATCHES * expected, _INTERVALS * submission.node.sync_interval):
                yield Stalled(attempt.name, attempt.host, beat.quiet, batch)


def find_slow_nodes(plan: Plan, attempts: Iterable[Attempt]) -> tuple[SlowNode, ...]:
    """By the rates of their processes: nodes have more or fewer of them."""
    known: dict[str, list[float]] = {}
    for attempt in attempts:
        rate = _rate(attempt)
        if rate and attempt.start and attempt.beat.ok + attempt.beat.failed >= _KNOWN_BATCHES * plan.batch_size:
            known.setdefault(attempt.host, []).append(rate)
    means = {node: sum(rates) / len(rates) for node, rates in sorted(known.items())}
    return tuple(_slow(means))


def find_slow_attempts(plan: Plan, attempts: Iterable[Attempt], nodes: Collection[str]) -> Iterator[str]:
    """Those on slow nodes, and those that do much less than most; by the rates of their processes, once they are known."""
    known = [
        one for one in attempts if _rate(one) and one.beat.ok + one.beat.failed >= _KNOWN_BATCHES * plan.batch_size
    ]
    usual = _median([_rate(one) for one in known]) if len(known) > _OTHERS else 0.0
    for one in known:
        if _rate(one) < _SLOW * usual or one.host in nodes:
            yield one.name


def _slow(means: Mapping[str, float]) -> Iterator[SlowNode]:
    for node, rate in means.items():
        others: Sequence[float] = [other for name, other in means.items() if name != node]
        if len(others) >= _OTHERS and rate < _SLOW * _median(others):
            yield SlowNode(node, rate, _median(others))


def _median(values: Sequence[float]) -> float:
    """The upper one of two; ``statistics`` takes longer to import than a status to read."""
    return sorted(values)[len(values) // 2]


def _rate(attempt: Attempt) -> float:
    """Rows a second of one of its processes; 0 where it is not known yet."""
    processes = len(attempt.start.devices) if attempt.start else 0
    return attempt.beat.rate / max(processes, 1)
