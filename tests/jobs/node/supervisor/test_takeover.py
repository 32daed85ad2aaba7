"""What an idle attempt takes from others, case by case, and how whole arrays of simulated workers fare by it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.kinds import FailureKind
from jobs.node.supervisor.takeover import IdlePace, Rest, Stretch, inherited, split
from jobs.storage.beats import Beat, GivenUp, Held
from jobs.storage.claims import Claim, holdings
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Spans
from tests.support.examples import examples
from tests.support.simulated_workers import Fate, World, fluid_bound

TABLE = ShardTable((0, 500, 1000), 10)
CLAIM = Claim(0, 1, "other", 0, 1000)


def stretch(left: str = "0-999", *, claim: Claim = CLAIM, claims: tuple[Claim, ...] = ()) -> Stretch:
    return Stretch(claim, claim.stop, Spans.parse(left), (claim, *claims))


def beat(rate: float = 1.0, *, begun: int = 0, setup: float = 0.0, claim: Claim = CLAIM, more: int = 0) -> Beat:
    held = Held(claim.range, claim.number, claim.start, claim.stop, 0)
    others = tuple(Held(9, number, 0, 1, 0) for number in range(more))
    return Beat(1, 0.0, claims=(held, *others), begun=begun, rate=rate, setup=setup)


# --- of one at work


def test_of_one_as_fast_half_of_what_comes_after_the_margin_is_taken() -> None:
    assert split(stretch(), beat(), IdlePace(1.0, 0.0), 100.0, TABLE) == Claim(0, 2, "", 550, 1000)


def test_who_does_not_know_its_rate_is_as_fast() -> None:
    assert split(stretch(), beat(), IdlePace(0.0, 0.0), 100.0, TABLE) == Claim(0, 2, "", 550, 1000)


def test_who_is_three_times_as_fast_takes_three_quarters() -> None:
    assert split(stretch(), beat(), IdlePace(3.0, 0.0), 200.0, TABLE) == Claim(0, 2, "", 400, 1000)


def test_what_is_begun_is_not_taken() -> None:
    assert split(stretch(), beat(begun=800), IdlePace(1.0, 0.0), 100.0, TABLE) == Claim(0, 2, "", 950, 1000)


def test_a_claim_that_the_beat_does_not_know_yet_is_all_ahead() -> None:
    newer = Claim(0, 2, "other", 500, 1000)
    found = split(stretch("500-999", claim=newer, claims=(CLAIM,)), beat(begun=490), IdlePace(1.0, 0.0), 100.0, TABLE)
    assert found == Claim(0, 3, "", 800, 1000)


def test_nothing_is_taken_of_a_claim_that_its_holder_is_through_with() -> None:
    assert split(stretch(), beat(more=1), IdlePace(1.0, 0.0), 0.0, TABLE) is None


def test_what_takes_no_longer_than_the_set_up_is_worth_is_not_taken() -> None:
    assert split(stretch("900-999"), beat(), IdlePace(1.0, 50.0), 0.0, TABLE) is None
    assert split(stretch("900-999"), beat(), IdlePace(1.0, 40.0), 0.0, TABLE) == Claim(0, 2, "", 950, 1000)


def test_who_was_never_set_up_takes_as_long_for_it_as_the_holder() -> None:
    assert split(stretch("900-999"), beat(setup=50.0), IdlePace(0.0, None), 0.0, TABLE) is None


@given(
    first=st.integers(0, 99),
    rate=st.floats(0.1, 100),
    mine=st.floats(0, 100),
    margin=st.floats(0, 30),
    setup=st.floats(0, 5),
)
def test_a_split_leaves_the_margin_to_the_holder_and_is_done_no_later(
    first: int, rate: float, mine: float, margin: float, setup: float
) -> None:
    left = stretch(f"{10 * first}-999")
    found = split(left, beat(rate, begun=10 * first), IdlePace(mine, setup), margin, TABLE)
    ahead = 1000 - 10 * first - round(rate * margin)
    if found is None:
        assert ahead <= rate * (2 + 2 * setup) or ahead * (mine or rate) / ((mine or rate) + rate) <= 10
        return
    assert found.start % 10 == 0
    assert (found.number, found.stop) == (2, 1000)
    assert found.start >= 1000 - ahead
    taken = found.stop - found.start
    assert abs(taken / (mine or rate) - (ahead - taken) / rate) <= 10 * (1 / (mine or rate) + 1 / rate)


# --- of one that is over


def test_all_that_is_left_is_taken_from_the_first_batch_that_is_not_done() -> None:
    assert inherited(stretch("250-299,400-999"), TABLE) == Claim(0, 2, "", 250, 1000)


def test_where_three_have_come_to_nothing_it_is_left() -> None:
    tries = tuple(Claim(0, number, "dead", 250, 1000) for number in (2, 3, 4))
    assert inherited(stretch("250-999", claim=tries[1], claims=(CLAIM, tries[0])), TABLE) == Claim(0, 4, "", 250, 1000)
    assert inherited(stretch("250-999", claim=tries[2], claims=(CLAIM, *tries[:2])), TABLE) is None
    assert inherited(stretch("260-999", claim=tries[2], claims=(CLAIM, *tries[:2])), TABLE) is not None


# --- what is left


def test_what_is_left_is_what_nobody_has_done_or_given_up() -> None:
    rest = Rest(Spans([(0, 1000)]), TABLE)
    rest.learn_claims(0, [CLAIM, Claim(0, 2, "second", 400, 1000)])
    rest.learn_beats([Beat(1, 0.0, Spans([(0, 100)])), Beat(1, 0.0, Spans([(300, 450)]))])
    assert [(one.claim.number, str(one.left)) for one in rest.stretches([0])] == [(2, "450-999"), (1, "100-299")]
    rest.learn_beats([Beat(1, 0.0, given_up=(GivenUp(1, FailureKind.ERROR, ""),))])
    assert [(one.claim.number, str(one.left)) for one in rest.stretches([0])] == [(2, "450-499"), (1, "100-299")]


def test_a_later_claim_is_learned_and_one_without_rows_keeps_its_number() -> None:
    rest = Rest(Spans([(0, 1000)]), TABLE)
    rest.learn_claims(0, [CLAIM])
    rest.learn_claims(0, [CLAIM, Claim(0, 2, "", 0, 0)])
    (left,) = rest.stretches([0])
    assert (left.claim, inherited(left, TABLE)) == (CLAIM, Claim(0, 3, "", 0, 1000))
    rest.learn_claims(0, [CLAIM, Claim(0, 2, "second", 600, 1000)])
    assert [one.claim.number for one in rest.stretches([0])] == [2, 1]


# --- whole arrays


def run(world: World, fates: list[Fate]) -> World:
    """Until all have left; whatever they see, each claim takes the end of what one other claim has."""
    world.run(fates)
    known: list[Claim] = []
    for _, claim in sorted(world.claims.values()):
        if claim.number > 1:
            pieces = [piece for held in holdings(c for c in known if c.range == claim.range).values() for piece in held]
            assert any(start <= claim.start and claim.stop == stop for start, stop in pieces)
        known.append(claim)
    return world


def twice(world: World) -> int:
    """Batches that were done again."""
    return sum(count - 1 for count in world.completed.values())


SPEEDS = st.lists(st.floats(1.0, 30.0), min_size=1, max_size=6)


@settings(deadline=None, max_examples=examples(40))
@given(speeds=SPEEDS, ranges=st.integers(1, 12), begins=st.lists(st.floats(0, 400), min_size=6, max_size=6))
def test_undisturbed_every_batch_is_done_once(speeds: list[float], ranges: int, begins: list[float]) -> None:
    world = World(int(300 * sum(speeds)), len(speeds), ranges=ranges)
    run(world, [Fate(worker, speed, begins[worker]) for worker, speed in enumerate(speeds)])
    assert world.closed.count == world.rows
    assert twice(world) == 0
    assert set(world.completed.values()) == {1}


@st.composite
def troubled(draw: st.DrawFn) -> list[Fate]:
    """Two of them at most are in trouble, in the first half; those that were told to leave come again."""
    speeds = draw(st.lists(st.floats(1.0, 30.0), min_size=3, max_size=6))
    fates = [Fate(worker, speed, draw(st.floats(0, 100))) for worker, speed in enumerate(speeds)]
    for worker in draw(st.sets(st.integers(0, len(speeds) - 2), max_size=2)):
        when, begins, speed = draw(st.floats(0, 200)), fates[worker].begins, speeds[worker]
        kind = draw(st.sampled_from(["stops", "dies", "freezes"]))
        if kind == "freezes":
            fates[worker] = Fate(worker, speed, begins, frozen=(begins + when, begins + when + draw(st.floats(1, 900))))
        elif kind == "dies":
            fates[worker] = Fate(worker, speed, begins, dies=begins + when)
        else:
            fates[worker] = Fate(worker, speed, begins, stops=begins + when)
            fates.append(Fate(worker, speed, begins + when + draw(st.floats(0, 100))))
    return fates


@settings(deadline=None, max_examples=examples(60))
@given(fates=troubled(), stale=st.sampled_from([0.0, 0.0, 3.0, 30.0]), sees=st.booleans())
def test_whatever_befalls_some_the_others_finish(fates: list[Fate], stale: float, sees: bool) -> None:
    workers = 1 + max(fate.worker for fate in fates)
    rows = int(500 * sum(fate.speed for fate in fates[:workers]))
    world = run(World(rows, workers, stale=stale, sees_deaths=sees), fates)
    assert world.closed.count == rows
    assert len(world.completed) == -(-rows // 10)


def test_a_batch_that_kills_does_not_eat_the_array() -> None:
    fates = [Fate(worker, 10.0) for worker in range(12)]
    world = run(World(12 * 3000, 12, poison=3 * 3000 + 1000), fates)
    dead = [worker for worker in world.attempts.values() if worker.is_dead]
    assert len(dead) <= 4
    assert Spans([(0, 3 * 3000 + 1000), (4 * 3000, world.rows)]) - world.closed == Spans()


def slow_late_preempted(workers: int, seconds: float) -> list[Fate]:
    """One at a quarter of the speed, one that begins late, one preempted at half time that comes again five minutes later."""
    fates = [Fate(worker, 10.0) for worker in range(workers)]
    fates[3] = Fate(3, 2.5)
    fates[7] = Fate(7, 10.0, begins=seconds / 4)
    fates[11] = Fate(11, 10.0, stops=seconds / 2)
    return [*fates, Fate(11, 10.0, begins=seconds / 2 + 300)]


@pytest.mark.parametrize(("seconds", "most"), [(3600.0, 1.01), (360.0, 1.04)])
def test_slow_late_and_preempted_workers_cost_little_time(seconds: float, most: float) -> None:
    fates = slow_late_preempted(64, seconds)
    world = run(World(int(64 * seconds * 10), 64, batch=50), fates)
    assert world.closed.count == world.rows
    assert world.finished <= most * fluid_bound(world.rows, fates)
    assert twice(world) == 0
    assert len(world.claims) <= 5 * 64
    assert world.reads <= 400 * 64
    ends = [worker.beat.time for worker in world.attempts.values()]
    assert max(ends) <= max(world.finished, fates[-1].begins) + 30  # nobody waits long for nothing
