"""The dealer's bookkeeping: every batch is committed once, whatever dies; the guilty row is found."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.kinds import SampleFailureKind
from jobs.node.messages import Batch
from jobs.node.supervisor.dealer import KILLS, Dealer
from jobs.storage.records import Commit, FailedSample
from jobs.storage.spans import Spans
from tests.support.examples import examples


def batches(count: int) -> list[Batch]:
    return [Batch(start, start + 4) for start in range(0, 4 * count, 4)]


def commit(batch: Batch) -> Commit:
    return Commit(batch.start, batch.stop)


@given(st.integers(0, 40), st.integers(1, 4), st.integers(1, 5), st.randoms())
def test_every_batch_is_committed_once_whatever_dies(count: int, processes: int, depth: int, random: Random) -> None:
    dealer = Dealer(batches(count), processes, depth)
    hands = [list(dealer.deal(process, 0.0)) for process in range(processes)]
    committed, now = [], 0.0
    while not dealer.finished:
        process = random.randrange(processes)
        if random.random() < 0.2:
            dealer.give_back(process)
            hands[process] = []
        elif hands[process]:
            batch = hands[process].pop(random.randrange(len(hands[process])))
            now += random.random()
            dealer.done(process, [commit(batch)], now)
            committed.append(batch.start)
        hands[process] += dealer.deal(process, now)
    assert sorted(committed) == [batch.start for batch in batches(count)]


def test_batches_of_a_dead_process_come_first_and_in_order() -> None:
    dealer = Dealer(batches(10), 2, 3)
    dealer.deal(0, 0.0)
    dealer.deal(1, 0.0)
    dealer.give_back(0)
    assert [batch.start for batch in dealer.deal(0, 0.0)] == [0, 4, 8]


def test_a_fast_process_gets_more_than_a_slow_one() -> None:
    dealer = Dealer(batches(400), 2, 3)
    for process, seconds in ((0, 0.001), (1, 10.0)):
        now = 0.0
        for batch in dealer.deal(process, now):
            now += seconds
            dealer.done(process, [commit(batch)], now)
    assert len(dealer.deal(0, 0.0)) > 20
    assert len(dealer.deal(1, 0.0)) == 3


def test_how_long_a_batch_takes_is_told_by_the_clock_but_for_the_time_without_any() -> None:
    dealer, now = Dealer(batches(100), 1, 1), 0.0
    for _ in range(5):
        now += 1000.0
        for batch in dealer.deal(0, now):
            now += 0.25
            dealer.done(0, [Commit(batch.start, batch.stop, seconds=1e-6)], now)
    assert len(dealer.deal(0, now)) == 2


def test_a_process_is_dealt_again_when_half_of_its_hand_is_done() -> None:
    dealer, now = Dealer(batches(2000), 2, 3), 0.0
    hand = list(dealer.deal(0, now))

    def one_more() -> tuple[Batch, ...]:
        nonlocal now
        now += 0.005
        dealer.done(0, [commit(hand.pop())], now)
        return dealer.deal(0, now)

    hand += one_more()
    size = len(hand)
    while not (dealt := one_more()):
        pass
    assert size // 3 <= len(hand) <= size // 2
    assert len(hand) + len(dealt) >= size - 1


def test_the_last_batches_are_shared_out() -> None:
    dealer = Dealer(batches(12), 2, 1)
    dealer.done(0, [commit(dealer.deal(0, 0.0)[0])], 0.0001)
    assert len(dealer.deal(0, 0.0)) <= 3


def test_what_is_anothers_now_is_forgotten_but_for_what_a_process_has() -> None:
    dealer = Dealer(batches(10), 1, 3)
    assert [batch.start for batch in dealer.deal(0, 0.0)] == [0, 4, 8]
    assert (dealer.next_row, dealer.waiting) == (12, 7)
    dealer.forget(Spans([(8, 16), (24, 100)]))
    assert (dealer.next_row, dealer.waiting) == (16, 2)
    assert [batch.start for batch in dealer.unfinished()] == [0, 4, 8, 16, 20]
    dealer.give_back(0)
    assert dealer.next_row == 0
    dealer.forget(Spans([(0, 100)]))
    assert (dealer.waiting, dealer.finished) == (0, True)


def test_one_death_at_a_row_is_forgiven_the_second_is_not() -> None:
    dealer = Dealer(batches(2), 1, 2)
    dealer.deal(0, 0.0)
    dealer.blame((2, 3), SampleFailureKind.CRASH, "died")
    assert dealer.in_hand(0)[0].failed == ()
    dealer.blame((2, 3), SampleFailureKind.CRASH, "died")
    (failed,) = dealer.in_hand(0)[0].failed
    assert (failed.row, failed.kind, failed.attempts) == (2, "CRASH", 2)
    assert list(dealer.open_failures) == [2]


def test_kills_from_outside_are_forgiven_longer_and_count_for_themselves() -> None:
    dealer = Dealer(batches(2), 1, 2)
    dealer.deal(0, 0.0)
    for _ in range(KILLS - 1):
        dealer.blame((2, 3), SampleFailureKind.CRASH, "killed", KILLS)
    dealer.blame((2, 3), SampleFailureKind.CRASH, "died")
    assert dealer.in_hand(0)[0].failed == ()
    dealer.blame((2, 3), SampleFailureKind.CRASH, "killed", KILLS)
    (failed,) = dealer.in_hand(0)[0].failed
    assert (failed.row, failed.message, failed.attempts) == (2, "killed", KILLS)


def test_a_batch_that_kills_twice_is_done_one_by_one() -> None:
    dealer = Dealer(batches(2), 1, 2)
    dealer.deal(0, 0.0)
    dealer.blame((4, 8), SampleFailureKind.CRASH, "died")
    dealer.blame((4, 8), SampleFailureKind.CRASH, "died")
    dealer.give_back(0)
    assert [batch.most for batch in dealer.deal(0, 0.0)] == [0, 1]


def blame_twice(dealer: Dealer, row: int) -> None:
    for _ in range(2):
        dealer.blame((row, row + 1), SampleFailureKind.CRASH, "died")


def test_of_rows_that_are_through_nothing_is_kept() -> None:
    dealer = Dealer(batches(3), 1, 3)
    dealer.deal(0, 0.0)
    for row in (2, 6, 10):
        blame_twice(dealer, row)
    assert set(dealer.open_failures) == {2, 6, 10}
    dealer.done(0, [Commit(0, 4)], 1.0)
    assert set(dealer.open_failures) == {6, 10}
    dealer.give_back(0)
    dealer.forget(Spans([(4, 8)]))
    assert set(dealer.open_failures) == {10}
    dealer.drop()
    assert not dealer.open_failures


def test_what_a_batch_was_blamed_for_is_over_once_it_is_through() -> None:
    dealer = Dealer(batches(1), 1, 1)
    dealer.deal(0, 0.0)
    dealer.blame((2, 3), SampleFailureKind.CRASH, "died")
    dealer.blame((0, 4), SampleFailureKind.CRASH, "died")
    dealer.blame((0, 4), SampleFailureKind.CRASH, "died")
    dealer.done(0, [Commit(0, 4)], 1.0)
    dealer.add(batches(1))
    dealer.deal(0, 1.0)
    assert dealer.in_hand(0)[0].most == 0
    dealer.blame((2, 3), SampleFailureKind.CRASH, "died")
    assert not dealer.open_failures


# --- samples one by one


def rows(count: int) -> list[Batch]:
    return [Batch(row, row + 1) for row in range(count)]


@settings(max_examples=examples(40))
@given(st.integers(0, 60), st.integers(1, 3), st.integers(1, 64), st.randoms())
def test_every_row_is_committed_once_whatever_asks_or_is_lost(
    count: int, processes: int, in_flight: int, random: Random
) -> None:
    dealer = Dealer(rows(count), processes, 1)
    hands: list[list[int]] = [[] for _ in range(processes)]
    asked = [0] * processes
    committed: list[int] = []

    def ask(process: int) -> None:
        """As a process does: only for so much more than it has asked for already."""
        room = in_flight - len(hands[process])
        if room - asked[process] >= max(1, in_flight // 4):
            asked[process] = room
            dealer.asks(process, len(hands[process]), room)

    for process in range(processes):
        ask(process)
    for _ in range(10_000):
        if dealer.finished:
            break
        process = random.randrange(processes)
        hand = hands[process]
        if random.random() < 0.1:
            lost = tuple(sorted(random.sample(hand, random.randint(0, len(hand)))))
            if lost:
                dealer.lose(lost, FailedSample(0, SampleFailureKind.CRASH, "lost"), 3, may_blame=random.random() < 0.5)
            dealer.give_back(process)
            hand.clear()
            asked[process] = 0
        elif hand:
            row = hand.pop(random.randrange(len(hand)))
            dealer.done(process, [Commit(row, row + 1)], 0.0)
            committed.append(row)
        ask(process)
        dealt = dealer.deal(process, 0.0)
        if dealt:
            asked[process] = 0
        hand += [batch.start for batch in dealt]
        assert len(hand) <= in_flight
        assert hand or not dealer.waiting, "a process is idle while rows wait"
    assert sorted(committed) == list(range(count))


def test_at_the_end_the_processes_that_ask_share_what_is_left() -> None:
    dealer = Dealer(rows(20), 2, 1)
    dealer.asks(0, 0, 100)
    dealer.asks(1, 0, 100)
    assert len(dealer.deal(0, 0.0)) == 10
    assert len(dealer.deal(1, 0.0)) == 10


def test_what_a_process_asked_for_in_vain_it_gets_when_another_one_is_lost() -> None:
    dealer = Dealer(rows(4), 2, 1)
    dealer.asks(0, 0, 8)
    dealer.asks(1, 0, 8)
    dealer.deal(0, 0.0)
    dealer.deal(1, 0.0)
    assert dealer.deal(1, 0.0) == ()
    dealer.give_back(0)
    assert dealer.unfinished() == rows(4)
    assert [batch.start for batch in dealer.deal(1, 0.0)] == [0, 1]


def test_the_row_that_a_process_is_always_lost_at_is_found_and_fails_alone() -> None:
    guilty, dealer = 37, Dealer(rows(64), 1, 1)
    losses = 0
    dealer.asks(0, 0, 64)
    while not dealer.finished:
        hand = dealer.deal(0, 0.0)
        known = [batch for batch in hand if batch.failed]
        if known:
            assert [batch.start for batch in known] == [guilty]
            break
        most = min([batch.most for batch in hand if batch.most], default=64)
        for at in range(0, len(hand), most):  # as many at a time as may be in flight
            some = hand[at : at + most]
            if any(batch.start == guilty for batch in some):
                losses += 1
                in_flight = [batch.start for batch in some]
                dealer.lose(in_flight, FailedSample(0, SampleFailureKind.CRASH, "lost"), 3)
                break
            dealer.done(0, [Commit(batch.start, batch.stop) for batch in some], 0.0)
        dealer.give_back(0)
        dealer.asks(0, 0, 64)
    assert losses == 5


def test_batches_that_are_held_back_come_again_when_their_process_goes() -> None:
    dealer = Dealer(batches(2), 1, 2)
    dealer.deal(0, 0.0)
    dealer.hold(0, [Commit(0, 4)])
    assert not dealer.is_idle(0)
    dealer.done(0, [Commit(4, 8)], 0.0)
    assert dealer.is_idle(0)
    assert not dealer.finished
    dealer.give_back(0)
    assert [batch.start for batch in dealer.deal(0, 0.0)] == [0]


def test_a_suspicion_raises_no_limit_that_memory_has_set() -> None:
    dealer = Dealer([Batch(row, row + 1, most=4) for row in range(64)], 1, 64)
    dealer.asks(0, 0, 64)
    dealer.deal(0, 0.0)
    for _ in range(3):
        dealer.lose(range(64), FailedSample(0, SampleFailureKind.CRASH, "lost"), 3)
    assert {batch.most for batch in dealer.unfinished()} == {4}
    for _ in range(3):
        dealer.lose(range(8), FailedSample(0, SampleFailureKind.CRASH, "lost"), 3)
    assert [batch.most for batch in dealer.unfinished()] == [1] * 8 + [4] * 56
