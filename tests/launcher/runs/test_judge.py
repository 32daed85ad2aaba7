"""Judge: shards stand where a plain reading of the rules says, row by row, whatever happened to a run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.kinds import EndReason, FailureKind
from jobs.storage.attempts import Attempt
from jobs.storage.beats import Beat, GivenUp, Held
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Submission
from launcher.runs.failures import Failure
from launcher.runs.judge import Evidence, judge
from launcher.runs.submissions import Outcome, SubmissionState

# The machine may be busy with other things.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)

ROWS = 24
BOUNDARIES = (0, 5, 6, 12, 20, 24)
TABLE = ShardTable(BOUNDARIES, 2)
SHARDS = range(len(BOUNDARIES) - 1)


def rows_of(shard: int) -> set[int]:
    return set(range(BOUNDARIES[shard], BOUNDARIES[shard + 1]))


def numbers(spans: Spans) -> set[int]:
    return set(spans.numbers)


@st.composite
def some_rows(draw: st.DrawFn) -> Spans:
    """Whole batches."""
    return Spans(draw(st.lists(st.sampled_from(list(TABLE.batches(Spans([(0, ROWS)])))), max_size=9)))


shards = st.sampled_from(SHARDS)
kinds = st.sampled_from([FailureKind.ERROR, FailureKind.CRASH])


@st.composite
def submission(draw: st.DrawFn, number: int) -> SubmissionState:
    made = Submission(number, "local", 0.0, 1, draw(some_rows()), (), NodeSettings(max_failed_samples=1))
    ending = draw(st.sampled_from(["open", "killed", "ended", "cancelled"]))
    failed = draw(st.dictionaries(shards, kinds, max_size=3))
    failures = {shard: Failure(kind, "recorded", shard) for shard, kind in failed.items()}
    outcome = Outcome(1.0, ending == "cancelled", failures) if ending in ("ended", "cancelled") else None
    return SubmissionState(made, outcome, ending == "open")


@st.composite
def attempt(draw: st.DrawFn, name: str) -> Attempt:
    edges = draw(st.lists(st.tuples(st.integers(0, ROWS), st.integers(0, ROWS)), max_size=2))
    claims = tuple(Held(0, n, min(pair), max(pair), 0) for n, pair in enumerate(edges, 1))
    given_up = tuple(GivenUp(shard, FailureKind.ERROR, "given up") for shard in draw(st.sets(shards, max_size=1)))
    end = draw(st.sampled_from([None, None, EndReason.DONE, EndReason.STOPPED, EndReason.FAILED]))
    begun = draw(st.integers(0, ROWS))
    beat = Beat(0, 0.0, draw(some_rows()), claims=claims, begun=begun, given_up=given_up, end=end, message="its end")
    return Attempt(name, Path(name), None, beat)


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    count = draw(st.integers(0, 4))
    submissions = [draw(submission(number)) for number in range(1, count + 1)]
    of = draw(st.lists(st.integers(0, count), max_size=5))
    attempts = [draw(attempt(f"{number:04d}-{n:05d}-a")) for n, number in enumerate(of)]
    open_ended = [one.name for one in attempts if one.beat.end is None]
    live = frozenset(name for name in open_ended if draw(st.booleans()))
    held = {one.name: draw(some_rows()) for one in attempts if draw(st.booleans())}
    failed = draw(st.dictionaries(shards, st.integers(0, 3), max_size=3))
    return Evidence(TABLE, submissions, attempts, live, held, failed)


@dataclass
class Model:
    """The rules as docs have them, over sets of rows."""

    known: Evidence

    def closed(self, number: int | None = None) -> set[int]:
        own = [a for a in self.known.attempts if number is None or a.submission == number]
        return {row for a in own for row in a.beat.done.numbers}

    def work(self, number: int) -> set[int]:
        """The rows of which a submission is the last."""
        later = {row for s in self.known.submissions if s.number > number for row in s.submission.rows.numbers}
        own = next((s for s in self.known.submissions if s.number == number), None)
        return numbers(own.submission.rows) - later if own else set()

    def last(self, shard: int) -> SubmissionState | None:
        having = [s for s in self.known.submissions if numbers(s.submission.rows) & rows_of(shard)]
        return max(having, key=lambda s: s.number, default=None)

    def goes_on(self, number: int) -> bool:
        known = next((s for s in self.known.submissions if s.number == number), None)
        lives = any(a.submission == number and a.name in self.known.live for a in self.known.attempts)
        return lives or (known is not None and known.may_go_on)

    def is_settled(self, shard: int) -> bool:
        for state in self.known.submissions:
            if self.goes_on(state.number) and (self.work(state.number) - self.closed(state.number)) & rows_of(shard):
                return False
        return rows_of(shard) <= self.closed()

    def failures(self, shard: int) -> Iterator[tuple[str, str]]:
        """(kind, message) that a failed shard may have, those that come first alone."""
        last = self.last(shard)
        number = last.number if last else None
        if (
            any(one.shard == shard and a.submission == number for a in self.known.attempts for one in a.beat.given_up)
            and last
        ):
            yield "ERROR", "given up"
            return
        if last and self.is_settled(shard) and self.known.failed.get(shard, 0) > 1:
            yield "TOO_MANY_FAILED_SAMPLES", f"{self.known.failed[shard]} of {len(rows_of(shard))} samples failed"
            return
        recorded = last.outcome.failures.get(shard) if last and last.outcome and not self.goes_on(last.number) else None
        if recorded and not rows_of(shard) <= self.closed():
            yield recorded.kind, "recorded"
            return
        yield from self.ended_badly(shard)

    def ended_badly(self, shard: int, going: bool = False) -> Iterator[tuple[str, str]]:
        for a in self.known.attempts:
            state = next((s for s in self.known.submissions if s.number == a.submission), None)
            if state is None or self.goes_on(a.submission) != going:
                continue
            left = numbers(self.known.held.get(a.name, Spans())) & self.work(a.submission) - self.closed()
            if not left & rows_of(shard):
                continue
            if a.beat.end is EndReason.FAILED:
                yield "ERROR", "its end"
            elif (
                a.beat.end is None and a.name not in self.known.live and not (state.outcome and state.outcome.cancelled)
            ):
                yield "LOST", "the attempt left no trace of its end"

    def runs(self, shard: int) -> bool:
        for state in self.known.submissions:
            if not self.goes_on(state.number):
                continue
            live = [a for a in self.known.attempts if a.submission == state.number and a.name in self.known.live]
            begun = self.closed(state.number)
            for a in live:
                begun |= {r for h in a.beat.claims for r in range(h.start, h.stop) if r < a.beat.begun}
            if live and self.work(state.number) & begun & rows_of(shard):
                return True
        return False

    def state(self, shard: int) -> str:
        if any(self.failures(shard)):
            return "failed"
        if self.is_settled(shard):
            return "done"
        return "running" if self.runs(shard) else "pending"


@patient
@given(evidence())
def test_shards_stand_where_the_rules_say_row_by_row(known: Evidence) -> None:
    verdict, model = judge(known), Model(known)
    for shard in SHARDS:
        ways = {"done": verdict.done, "failed": verdict.failed, "running": verdict.running}
        assert [way for way, found in ways.items() if shard in found] == [
            way for way in ways if way == model.state(shard)
        ]


@patient
@given(evidence())
def test_a_failed_shard_has_one_failure_that_the_rules_give(known: Evidence) -> None:
    verdict, model = judge(known), Model(known)
    told = [(shard, one) for one in verdict.failures for shard in one.shards.numbers]
    assert sorted(shard for shard, _ in told) == sorted(verdict.failed.numbers)
    for shard, one in told:
        assert (one.kind, one.message.split(",")[0]) in set(model.failures(shard))


@patient
@given(evidence())
def test_setbacks_are_of_attempts_whose_submission_goes_on(known: Evidence) -> None:
    verdict, model = judge(known), Model(known)
    told = {(shard, str(one.kind)) for one in verdict.setbacks for shard in one.shards.numbers}
    assert told == {(shard, kind) for shard in SHARDS for kind, _ in model.ended_badly(shard, True) if kind != "LOST"}


def state(number: int, *shards: int, outcome: Outcome | None = None, is_open: bool = False) -> SubmissionState:
    made = Submission(number, "local", 0.0, 1, TABLE.rows_of(shards), (), NodeSettings())
    return SubmissionState(made, outcome, is_open)


def beat(name: str, *done: tuple[int, int], **fields: object) -> Attempt:
    return Attempt(name, Path(name), None, Beat(0, 0.0, Spans(done), **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("submissions", "attempts", "done"),
    [
        ([state(1, 0, is_open=True)], [beat("0001-00000-a", (0, 5))], {0}),
        # Done again: what was done counts, and the shard is done once all of it is done again.
        ([state(1, 0), state(2, 0, is_open=True)], [beat("0001-00000-a", (0, 5)), beat("0002-00000-a", (0, 4))], set()),
        ([state(1, 0), state(2, 0)], [beat("0001-00000-a", (0, 5)), beat("0002-00000-a", (0, 4))], {0}),
        # A submission that goes on in another's rows has nothing more to do there.
        ([state(1, 0, is_open=True), state(2, 0)], [beat("0002-00000-a", (0, 5))], {0}),
        # What nobody knows the submission of counts all the same.
        ([], [beat("0001-00000-a", (0, 12))], {0, 1, 2}),
    ],
)
def test_shards_that_are_done(
    submissions: Sequence[SubmissionState], attempts: Sequence[Attempt], done: set[int]
) -> None:
    assert numbers(judge(Evidence(TABLE, submissions, attempts)).done) == done
