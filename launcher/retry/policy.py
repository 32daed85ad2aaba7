"""Retry policy: whether there is another attempt at shards that ended undone, and on which terms. Pure.

An attempt never gets less than the one before, and more only of what that one ran out of: memory after OUT_OF_MEMORY, time
after TIMEOUT, another node after NODE_FAIL and LAUNCH. How an executor asks for that is its own business.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from jobs.kinds import AnyFailureKind
from launcher.config.settings import RetrySettings
from launcher.runs.causes import NextAttempt, cause


@dataclass(frozen=True)
class Terms:
    """What an attempt runs on: bytes and seconds as they were asked for, None where they were not.

    ``attempt`` counts those that cost one, from 1.
    """

    attempt: int = 1
    memory: int | None = None
    time: int | None = None
    excluded_nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Allocation:
    """What the scheduler says that an attempt had: its node, bytes, seconds; None where it does not say."""

    node: str | None = None
    memory: int | None = None
    time: int | None = None


def next_terms(
    kind: AnyFailureKind | None, progress: bool, terms: Terms, retry: RetrySettings, had: Sequence[Allocation]
) -> Terms | None:
    """The terms of the next attempt at shards that ended alike; None where there is none.

    Without a failure (``kind`` None) they only had to leave: where they made ``progress``, they may go on any number
    of times. ``had`` is what the attempts at them had.
    """
    if kind is None:
        grown: Terms | None = terms
        costs_attempt = not progress
    else:
        grown = _grown(cause(kind).next_attempt, terms, retry, had)
        costs_attempt = cause(kind).costs_attempt
    attempt = terms.attempt + costs_attempt
    return replace(grown, attempt=attempt) if grown and attempt <= retry.attempts else None


def _grown(wanted: NextAttempt, terms: Terms, retry: RetrySettings, had: Sequence[Allocation]) -> Terms | None:
    """The terms with what the next attempt must get; None where it cannot."""
    match wanted:
        case NextAttempt.NONE:
            return None
        case NextAttempt.THE_SAME:
            return terms
        case NextAttempt.MORE_MEMORY:
            given = terms.memory if terms.memory is not None else _most(one.memory for one in had)
            memory = more(given, retry.memory_factor, retry.max_memory)
            return replace(terms, memory=memory) if memory else None
        case NextAttempt.MORE_TIME:
            given = terms.time if terms.time is not None else _most(one.time for one in had)
            time = more(given, retry.time_factor, retry.max_time)
            return replace(terms, time=time) if time else None
        case NextAttempt.ANOTHER_NODE:
            failed = {one.node for one in had if one.node} - set(terms.excluded_nodes)
            nodes = (*terms.excluded_nodes, *sorted(failed))
            return replace(terms, excluded_nodes=nodes) if retry.exclude_failed_nodes else terms
        case _:
            assert_never(wanted)


def _most(sizes: Iterable[int | None]) -> int | None:
    """The largest of what is known."""
    return max((size for size in sizes if size is not None), default=None)


def more(given: int | None, factor: float, limit: int | None) -> int | None:
    """What comes after ``given`` bytes or seconds; None where nobody knows what was given, or it is the limit already."""
    if given is None:
        return None
    more = round(given * factor)
    more = more if limit is None else min(more, limit)
    return more if more > given else None
