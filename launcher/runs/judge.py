"""Judge: where the shards of a run stand, from its submissions and the last beats of its attempts. Pure.

All in spans of rows and of shards, so that it costs time in the number of attempts and submissions, and of shards that
failed one by one, however many shards there are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

from jobs.kinds import EndReason, FailureKind
from jobs.storage.attempts import Attempt
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Spans, union
from launcher.runs.failures import Failure, ShardFailures, too_many_failed
from launcher.runs.submissions import SubmissionState, newest_by_row

LOST_MESSAGE = "the attempt left no trace of its end"

AnyShardFailure: TypeAlias = Failure | ShardFailures


@dataclass(frozen=True)
class Evidence:
    """What is known of a run.

    ``live`` are the names of attempts that go on. ``held``: the rows that an attempt has of its submission's, and that no
    other has claimed since; it may lack attempts that ended well. ``failed`` counts the samples that failed of shards
    that several attempts had, where more may have failed than each of them was allowed.
    """

    table: ShardTable
    submissions: Sequence[SubmissionState]
    attempts: Sequence[Attempt]
    live: frozenset[str] = frozenset()
    held: Mapping[str, Spans] = field(default_factory=dict)
    failed: Mapping[int, int] = field(default_factory=dict)

    @cached_property
    def closed(self) -> Spans:
        """The rows that some attempt has done."""
        return union(self.closed_by.values())

    @cached_property
    def attempts_of(self) -> Mapping[int, Sequence[Attempt]]:
        """By the number of their submission."""
        found: dict[int, list[Attempt]] = {}
        for attempt in self.attempts:
            found.setdefault(attempt.submission, []).append(attempt)
        return found

    @cached_property
    def closed_by(self) -> Mapping[int, Spans]:
        """The rows that the attempts of a submission have done, by its number."""
        return {number: union(one.beat.done for one in own) for number, own in self.attempts_of.items()}

    @cached_property
    def going(self) -> frozenset[int]:
        """Numbers of submissions of which something may be waiting or running."""
        waiting = {known.number for known in self.submissions if known.may_go_on}
        living = {number for number, own in self.attempts_of.items() if any(one.name in self.live for one in own)}
        return frozenset(waiting | living)

    @cached_property
    def newest(self) -> Sequence[tuple[SubmissionState, Spans]]:
        """Each submission with the rows of which it is the last."""
        return newest_by_row(self.submissions, self.table)

    @cached_property
    def last(self) -> Sequence[tuple[SubmissionState, Spans]]:
        """Each submission with the shards of which it is the last that had a row."""
        found, seen = [], Spans()
        for known, rows in self.newest:  # of a shard's rows, those of the last are among these
            shards = self.table.shards_in(rows)
            found.append((known, shards - seen))
            seen |= shards
        return found


@dataclass(frozen=True)
class Verdict:
    """Shards that are done, and that are running; why others failed, each shard once; those that are left are pending.

    ``setbacks`` are failures of attempts whose rows others of their submission may still do.
    """

    done: Spans
    running: Spans
    failures: tuple[AnyShardFailure, ...]
    setbacks: tuple[ShardFailures, ...]

    @cached_property
    def failed(self) -> Spans:
        return union(failure.shards for failure in self.failures)


def judge(known: Evidence) -> Verdict:
    """Where shards stand."""
    table, none = known.table, Spans()
    going = [
        (one.number, rows, known.closed_by.get(one.number, none))
        for one, rows in known.newest
        if one.number in known.going
    ]
    whole = table.whole_shards(known.closed)
    settled = whole - table.shards_in(union(rows - closed for _, rows, closed in going))
    failures = tuple(_failures(known, whole, settled))
    failed = union(failure.shards for failure in failures)
    done = settled - failed
    dealt = _dealt(known)  # without a live attempt nothing runs, whatever waits
    begun = union(rows & (closed | dealt[number]) for number, rows, closed in going if number in dealt)
    running = table.shards_in(begun) - done - failed
    return Verdict(done, running, failures, tuple(_setbacks(known)))


def _dealt(known: Evidence) -> Mapping[int, Spans]:
    """The rows that live attempts have begun, by the number of their submission, if it has any."""
    alive = ((number, [one for one in own if one.name in known.live]) for number, own in known.attempts_of.items())
    return {
        number: Spans((held.start, min(held.stop, one.beat.begun)) for one in own for held in one.beat.claims)
        for number, own in alive
        if own
    }


def _failures(known: Evidence, whole: Spans, settled: Spans) -> Iterator[AnyShardFailure]:
    """What was said of a shard itself comes before what is concluded from how an attempt ended."""
    told: dict[int, Failure] = {}
    for failure in (*_given_up(known), *_too_many(known, settled), *_recorded(known, whole)):
        told.setdefault(failure.shard, failure)
    yield from told.values()
    seen = Spans.of_numbers(told)
    for one, rows in known.newest:
        for _, alike in _ended_badly(known, one, rows) if one.number not in known.going else ():
            if shards := alike.shards - seen:
                seen |= shards
                yield replace(alike, shards=shards)


def _setbacks(known: Evidence) -> Iterator[ShardFailures]:
    """Of those that said so themselves: where only the silence tells, others may be at it already."""
    for one, rows in known.newest:
        for attempt, alike in _ended_badly(known, one, rows) if one.number in known.going else ():
            if attempt.is_over:
                yield alike


def _given_up(known: Evidence) -> Iterator[Failure]:
    """By the last submission that had the shard."""
    for last, shards in known.last:
        for attempt in known.attempts_of.get(last.number, ()):
            for one in attempt.beat.given_up:
                if one.shard in shards:
                    yield Failure(one.kind, one.message, one.shard)


def _too_many(known: Evidence, settled: Spans) -> Iterator[Failure]:
    """Shards of whose failed samples each attempt saw but a part."""
    for shard, failed in known.failed.items():
        if shard not in settled:
            continue
        rows = known.table.rows_of([shard]).count
        node = next((one.submission.node for one, shards in known.last if shard in shards), None)
        if node and (failure := too_many_failed(shard, failed, rows, node)):
            yield failure


def _recorded(known: Evidence, whole: Spans) -> Iterator[Failure]:
    """What outcomes say of shards that are not whole, each by the last submission that had it."""
    for one, shards in known.last:
        if one.outcome and one.number not in known.going:
            for shard, failure in one.outcome.failures.items():
                if shard in shards and shard not in whole:
                    yield failure


def _ended_badly(known: Evidence, own: SubmissionState, rows: Spans) -> Iterator[tuple[Attempt, ShardFailures]]:
    """A submission's attempts that failed or left no word, with the shards in which they left some of ``rows`` open.

    Not those that were killed on purpose.
    """
    was_stopped = own.outcome is not None and own.outcome.was_stopped
    left_open = rows - known.closed
    for attempt in known.attempts_of.get(own.number, ()):
        beat = attempt.beat
        if beat.end is EndReason.FAILED:
            kind, message = beat.kind or FailureKind.ERROR, beat.message
        elif beat.end is None and attempt.name not in known.live and not was_stopped:
            kind, message = FailureKind.LOST, LOST_MESSAGE
        else:
            continue
        held = known.held.get(attempt.name, Spans())
        if left := union(left_open.within(*pair) for pair in held):
            yield attempt, ShardFailures(kind, message, known.table.shards_in(left))
