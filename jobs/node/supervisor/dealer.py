"""Dealer: which batches are still to do, which process has them, and which rows are under suspicion. Pure bookkeeping.

Processes get batches as they finish some, so a slow device takes less; what a dead process had goes back to the front
of the queue. A row that its child dies on again and again is given up, never the run.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from jobs.kinds import SampleFailureKind
from jobs.node.beacon import RowRange
from jobs.node.messages import Batch
from jobs.storage.records import Commit, FailedSample
from jobs.storage.spans import Spans

# One crash may be bad luck; the second on the same row is its own.
DEATHS = 2
# SIGKILL comes from outside, so it takes more of them: fewer may well meet at one row, or at the second try of a batch.
KILLS = 5
# Of the samples in flight when a process was lost again, so many times fewer are tried together.
_FEWER = 8
# A process gets about this much work at a time, seconds: less costs messages, more leaves the last one working alone.
DEAL_SECONDS = 0.5
# More would save next to nothing, and what one has in hand is not for the others.
_LARGEST_HAND = 256


@dataclass
class _Hand:
    """What one process has to do; ``seconds`` is its time per batch, smoothed; ``since`` is when the last one was done.

    One that asks has ``told`` how many samples it had unfinished then, and for how many more there is ``room``. ``held`` are
    batches that it has done, but that do not count yet. ``is_gone``: nobody works on it, until a successor asks.
    """

    batches: dict[int, Batch] = field(default_factory=dict)
    seconds: float | None = None
    since: float = 0.0
    asks: bool = False
    told: int = 0
    room: int = 0
    held: dict[int, Batch] = field(default_factory=dict)
    rows: int = 0
    is_gone: bool = False

    @property
    def all(self) -> list[Batch]:
        return [*self.batches.values(), *self.held.values()]

    @property
    def unfinished(self) -> int:
        """Samples: it may have done some of its batches since, and not said so, or have said that, and nothing since."""
        return min(self.told, self.rows)

    def add(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self.batches[batch.start] = batch
            self.rows += batch.stop - batch.start

    def pop(self, start: int) -> Batch:
        batch = self.batches.pop(start)
        self.rows -= batch.stop - batch.start
        return batch


class Dealer:
    """The batches of a crew. ``depth`` is the least number that a process has in hand, to keep its workers busy."""

    def __init__(self, batches: Iterable[Batch], processes: int, depth: int) -> None:
        self._queue = deque(batches)
        self._hands = [_Hand() for _ in range(processes)]
        self._depth = depth
        # By how many it takes, too: kills from outside do not count towards crashes.
        self._deaths: Counter[tuple[RowRange, int]] = Counter()
        self._split: set[int] = set()
        # Of rows that were in flight when a process was lost: how often, by how many it takes; how many of them may be so at a
        # time; and those that are done last, since all that came with them was lost as well.
        self._losses: Counter[tuple[int, int]] = Counter()
        self._limits: dict[int, int] = {}
        self._last: set[int] = set()
        self._failed: dict[int, FailedSample] = {}

    def add(self, batches: Iterable[Batch]) -> None:
        self._queue.extend(batches)

    def drop(self) -> list[Batch]:
        """Forgets the batches that were not dealt; returns them."""
        dropped = list(self._queue)
        self._queue.clear()
        self._clear(dropped)
        return dropped

    def forget(self, rows: Spans) -> None:
        """Forgets the batches in these rows that no process has."""
        forgotten = [batch for batch in self._queue if batch.start in rows]
        self._queue = deque(batch for batch in self._queue if batch.start not in rows)
        self._clear(forgotten)

    def _clear(self, through: Iterable[Batch | Commit]) -> None:
        """What is known of rows that are none of a crew's any more would grow with a run that has many bad ones."""
        if not (self._failed or self._deaths or self._split or self._losses):
            return
        for one in through:
            rows = range(one.start, one.stop)
            self._split.discard(one.start)
            self._limits.pop(one.start, None)
            self._last.discard(one.start)
            if self._losses:
                self._losses = Counter({of: count for of, count in self._losses.items() if of[0] not in rows})
            self._failed = {row: failed for row, failed in self._failed.items() if row not in rows}
            self._deaths = Counter({of: count for of, count in self._deaths.items() if of[0][0] not in rows})

    @property
    def next_row(self) -> int | None:
        """The first row of the batch that is dealt next."""
        return self._queue[0].start if self._queue else None

    @property
    def waiting(self) -> int:
        """How many batches no process has."""
        return len(self._queue)

    @property
    def finished(self) -> bool:
        """Whether every batch was committed."""
        return not self._queue and not any(hand.all for hand in self._hands)

    def unfinished(self) -> list[Batch]:
        """The batches that were not committed, in order, with what is known of them."""
        dealt = [batch for hand in self._hands for batch in hand.all]
        return sorted(map(self._known, [*self._queue, *dealt]), key=lambda batch: batch.start)

    @property
    def open_failures(self) -> Collection[int]:
        """Rows of samples given up whose batch is not committed yet."""
        return self._failed.keys()

    def deal(self, process: int, now: float) -> tuple[Batch, ...]:
        """Batches for a process, as many as fit into its hand; none while it has half of that: fewer messages.

        ``now`` is the time, by any clock.
        """
        hand = self._hands[process]
        if hand.asks:
            return self._deal_rows(hand)
        timed = int(DEAL_SECONDS / max(hand.seconds, 1e-6)) if hand.seconds is not None else 0
        # Not so many that others would wait for this process at the end.
        fair = len(self._queue) // (2 * len(self._hands))
        share = -(-(len(self._queue) + sum(len(other.batches) for other in self._hands)) // len(self._hands))
        size = min(max(self._depth, min(timed, fair, _LARGEST_HAND)), share)
        if len(hand.batches) >= max(self._depth, size // 2 + 1):
            return ()
        count = min(size - len(hand.batches), len(self._queue))
        dealt = tuple(self._known(self._queue.popleft()) for _ in range(max(0, count)))
        hand.since = hand.since if hand.batches else now
        hand.add(dealt)
        return dealt

    def is_asking(self, process: int) -> bool:
        """Whether it takes samples one by one, and says how many."""
        return self._hands[process].asks

    def asks(self, process: int, unfinished: int, room: int) -> None:
        """A process says how much it has to do, and for how many samples more there is room."""
        hand = self._hands[process]
        hand.asks, hand.told, hand.room, hand.is_gone = True, unfinished, room, False

    def _deal_rows(self, hand: _Hand) -> tuple[Batch, ...]:
        """As many samples as it has room for; at the end no more than its share. What it cannot get now it may later.

        One that has nothing left always gets some of what waits: it might never ask again.
        """
        if not hand.room or not self._queue:
            return ()
        waiting = len(self._queue) * (self._queue[0].stop - self._queue[0].start)
        hands = [one for one in self._hands if not one.is_gone]  # one that is yet to be set up gets its share, too
        share = -(-(waiting + sum(one.unfinished for one in hands)) // len(hands))
        room, dealt, rows = min(hand.room, share - hand.unfinished), list[Batch](), 0
        while self._queue and rows < room:
            dealt.append(self._known(self._queue.popleft()))
            rows += dealt[-1].stop - dealt[-1].start
        hand.told, hand.room = hand.unfinished + rows, max(0, hand.room - rows)
        hand.add(dealt)
        return tuple(dealt)

    def hold(self, process: int, commits: Iterable[Commit]) -> None:
        """The process has done these batches, and they do not count yet."""
        hand = self._hands[process]
        hand.held |= {commit.start: hand.pop(commit.start) for commit in commits if commit.start in hand.batches}

    @property
    def held(self) -> int:
        """How many batches are done and do not count yet."""
        return sum(len(hand.held) for hand in self._hands)

    def is_idle(self, process: int) -> bool:
        """Whether a process has nothing to do, and will get nothing."""
        return not self._queue and not self._hands[process].batches

    def _known(self, batch: Batch) -> Batch:
        """The batch with what is known of it by now."""
        if not self._failed and not self._split and not self._limits:
            return batch
        failed = {sample.row: sample for sample in batch.failed}
        failed |= {row: self._failed[row] for row in range(batch.start, batch.stop) if row in self._failed}
        limits = (1 if batch.start in self._split else self._limits.get(batch.start, 0), batch.most)
        most = min(filter(None, limits), default=0)  # memory may allow fewer than a suspicion
        return batch._replace(most=most, failed=tuple(failed.values()))

    def done(self, process: int, commits: Sequence[Commit], now: float) -> None:
        """Batches were committed."""
        hand = self._hands[process]
        # By the clock: what a batch takes in process() says nothing of how long it takes to load.
        seconds, hand.since = (now - hand.since) / len(commits), now
        for commit in commits:
            if hand.held.pop(commit.start, None) is None:
                hand.pop(commit.start)
            hand.seconds = seconds if hand.seconds is None else 0.7 * hand.seconds + 0.3 * seconds
        self._clear(commits)

    def in_hand(self, process: int) -> tuple[Batch, ...]:
        """What a process has to do, with what is known by now: a new worker's process needs it."""
        return tuple(self._known(batch) for batch in self._hands[process].batches.values())

    def give_back(self, process: int) -> None:
        """The process died: its batches go to the front of the queue, in order, but for those that are done last."""
        hand = self._hands[process]
        self._queue.extendleft(
            sorted((batch for batch in hand.all if batch.start not in self._last), key=lambda batch: -batch.start)
        )
        self._queue.extend(batch for batch in hand.all if batch.start in self._last)
        self._hands[process] = _Hand(seconds=hand.seconds, is_gone=True)

    def blame(self, span: RowRange, kind: SampleFailureKind, message: str, deaths: int = DEATHS) -> None:
        """A child died, or had to be killed, while it was at these rows.

        When it was so for the ``deaths``-th time, a single row has failed for good. More rows (a batch in process or
        collate) are done one by one, which leads to a single row.
        """
        self._deaths[span, deaths] += 1
        if self._deaths[span, deaths] < deaths:
            return
        start, stop = span
        if stop - start == 1:
            self._failed[start] = FailedSample(start, kind, message, deaths)
        else:
            dealt = (batch for hand in self._hands for batch in hand.batches.values())
            self._split |= {batch.start for batch in dealt if batch.start < stop and start < batch.stop}

    def lose(self, rows: Sequence[int], cause: FailedSample, losses: int, *, may_blame: bool = True) -> None:
        """A process was lost while these rows were in flight. Those for which it is the ``losses``-th time are suspected.

        They are done with eight times fewer in flight, down to one that is alone: that one fails, as ``cause`` says. Where
        it is not known that the process can do anything (``may_blame``), it is done after all others instead, once.
        """
        for row in rows:
            self._losses[row, losses] += 1
        suspects = {row for row in rows if self._losses[row, losses] >= losses}
        batches = [batch for hand in self._hands for batch in hand.batches.values()]
        of = {row: batch.start for batch in batches for row in suspects if batch.start <= row < batch.stop}
        if len(rows) > 1:
            self._limits |= dict.fromkeys(of.values(), max(1, len(rows) // _FEWER))
            if losses == KILLS:  # from outside: they come as they come, at whatever is in flight
                for row in suspects:
                    del self._losses[row, losses]
        elif suspects and (may_blame or not self._last.isdisjoint(of.values())):
            self._failed[rows[0]] = replace(cause, row=rows[0], attempts=self._losses[rows[0], losses])
        elif suspects:
            self._last |= set(of.values())
