"""Crew: the processes and pool workers at work: deals them batches, takes their commits, replaces the dead.

It knows nothing of journals: what a process wants to commit goes to a CommitLog.
"""

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

from jobs.kinds import FailureKind, SampleFailureKind
from jobs.machine.kernel_kills import KernelKills
from jobs.node.messages import Allocate, Batch, Broken, Deal, Done, Hungry, Lost, Ready
from jobs.node.process.pool import SLOTS
from jobs.node.supervisor.acceptance import Acceptance
from jobs.node.supervisor.child import Child, await_end
from jobs.node.supervisor.children import TICK, Children, CrewSettings
from jobs.node.supervisor.commit_log import AttemptFailed, CommitLog
from jobs.node.supervisor.dealer import Dealer
from jobs.node.supervisor.deaths import Deaths
from jobs.node.supervisor.fork_server import ForkServer
from jobs.node.supervisor.halting import halt
from jobs.node.supervisor.losses import SUSPECTED, Losses
from jobs.node.supervisor.meter import Meter
from jobs.node.supervisor.watch import Watch
from jobs.storage.records import Commit, FailedSample
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings


class Crew:
    """Children with the same settings. ``setup`` is how long the processes took to be ready, seconds."""

    def __init__(self, settings: CrewSettings, server: ForkServer, node: NodeSettings, meter: Meter) -> None:
        self.settings = settings
        self._meter = meter
        self._children = Children(settings, server)
        self._ready: set[int] = set()
        self._worked: set[int] = set()
        self._losses = Losses()
        self._dealer = Dealer([], len(settings.devices), 1)
        self._unwanted = Spans()
        self._started = 0.0
        self.setup = 0.0
        kernel_kills = KernelKills()
        self._deaths = Deaths(self._children, settings.devices, kernel_kills)
        self._watch = Watch(self._children, meter, kernel_kills, node.sample_timeout, settings.memory)

    def begin(self, commit_log: CommitLog, batches: Iterable[Batch]) -> None:
        """Starts the children, and them on these batches."""
        self._commit_log = commit_log
        on_its_way = any(device.startswith("cuda") for device in self.settings.devices)
        depth = SLOTS * self.settings.workers + 1 + on_its_way
        self._dealer = Dealer(batches, len(self.settings.devices), depth)
        self._acceptance = Acceptance(commit_log, self._dealer, self._losses, self.settings.in_flight)
        self._started = time.monotonic()
        self._children.start()

    def extend(self, batches: Iterable[Batch]) -> None:
        """Adds batches to those under way."""
        self._dealer.add(batches)
        self._deal_to_all()

    def drop(self) -> list[Batch]:
        """Forgets the batches that no process has yet; returns them."""
        return self._dealer.drop()

    def forget(self, rows: Spans) -> None:
        """Forgets the batches in these rows that no process has yet."""
        self._dealer.forget(rows)

    @property
    def waiting(self) -> int:
        """How many batches no process has yet."""
        return self._dealer.waiting

    @property
    def next_row(self) -> int | None:
        """The first row of the batch that a process gets next."""
        return self._dealer.next_row

    @property
    def finished(self) -> bool:
        return self._dealer.finished

    @property
    def in_flight(self) -> int:
        """How many samples are under way, where they are taken one by one."""
        return sum(len(self._children.in_flight(child)) for child in self._children.processes)

    def unfinished(self) -> list[Batch]:
        """The batches that were not committed, in order."""
        return self._dealer.unfinished()

    def step(self, extra: list[Any], seconds: float = math.inf) -> list[Any]:
        """Waits for the next thing to happen and deals with it; returns which of ``extra`` became readable.

        It waits for a tick at most, or ``seconds``. Raises AttemptFailed or MemoryShort.
        """
        for index in self._losses.due():
            self._start_process(index)
        talking, dead, others = self._children.wait(min(TICK, seconds, self._losses.seconds), extra)
        for child in talking:
            self._read(child)
        for child in dead:
            # What it had still sent counts: commits, and a last word by which it may be given up.
            while self._children.holds(child) and child.connection and child.connection.poll():
                self._read(child)
            if self._children.holds(child):
                self._replace(child)
        for child in self._watch.look():
            self._abandon(child)
        self._settle_idle()
        return others

    def measure(self) -> None:
        """Takes a last reading of what the children use, before they go."""
        self._meter.read(child.pid for child in self._children)

    # --- messages

    def _read(self, child: Child) -> None:
        message = child.receive()
        match message:
            case Ready():
                if child.process not in self._worked:
                    self.setup = time.monotonic() - self._started
                self._ready.add(child.process)
                self._worked.add(child.process)
                self._deal(child.process)
            case Allocate():
                child.tell(self._commit_log.allocate(message))
            case Hungry():
                self._dealer.asks(child.process, message.unfinished, message.room)
                if child.process in self._ready:
                    self._deal(child.process)
            case Done():
                self._take(child, message.commits)
            case Lost():
                child.lost = message  # it ends by itself, see _replace
            case Broken():
                # Where one was lost what it needs may be back soon; no pause helps where it got ready, or a disk is full.
                is_setup = child.process not in self._ready
                if is_setup and self._losses.is_lost(child.process) and message.kind is FailureKind.ERROR:
                    self._lose(child, message.message, ())
                else:
                    self._give_up(child, message.kind, message.message)

    def _take(self, child: Child, commits: Sequence[Commit]) -> None:
        """Batches that a process has done; they count unless it is perhaps the process that has failed."""
        broken = self._acceptance.take(child.process, commits)
        self._deaths.went_on()
        self._check()
        if broken:
            self._lose_in_streak(child, broken)
        else:
            self._deal(child.process)

    def _settle_idle(self) -> None:
        """What is held back counts, or does not, also where another process, or nobody, does what was left to do."""
        held = self._dealer.held
        for process, broken in self._acceptance.settle_idle():
            self._lose_in_streak(self._children.processes[process], broken)
        if self._dealer.held != held:
            self._check()

    def _lose_in_streak(self, child: Child, broken: str) -> None:
        print(f"{child.name}: one sample after another fails, as if it could do no more: {broken}", flush=True)
        self._lose(child, broken, ())

    def _check(self) -> None:
        unwanted = self._commit_log.check(self._dealer.open_failures)
        if unwanted:
            self._unwanted |= unwanted
            self._dealer.forget(unwanted)

    def _deal(self, index: int) -> None:
        batches = self._dealer.deal(index, time.monotonic())
        if batches:
            are_rows = self._dealer.is_asking(index) and self.settings.backend.joins_batches
            are_rows = are_rows and all(batch.stop - batch.start == 1 for batch in batches)
            self._children.processes[index].tell(Deal.of_rows(batches) if are_rows else Deal(batches))

    # --- deaths

    def _replace(self, child: Child) -> None:
        """Notes what a dead child was at, and starts another in its place."""
        await_end([child])
        if child.worker is not None and self._children.is_orphaned(child):
            self._children.forget(child)  # its process is dying, and will be replaced with all its workers
            return
        if child.lost:
            self._lose(child, child.lost.message, child.lost.rows, child.lost.kind)
            return
        if self._deaths.judge(child, self._dealer):
            self._check()
        elif hopeless := self._deaths.idle(child):
            self._give_up(child, *hopeless)
            if not self._children.holds(child):
                return
        if child.worker is None:
            self._take_back(child)
            self._deal_to_all()  # it may take long until its successor is set up
            self._start_process(child.process)
            return
        self._start_worker(child.process, child.worker)
        # Where its process has gone as well it is still there: its death would be seen, and blamed, again.
        if self._children.holds(child):
            self._children.forget(child)

    def _abandon(self, child: Child) -> None:
        """Goes on without a child that SIGKILL does not end: with another worker, but not with another process.

        What the kernel still does for that one may write to the data file that the other would have.
        """
        if child.worker is None:
            raise AttemptFailed(FailureKind.CRASH, f"{child.name} {child.how}, but cannot be ended")
        self._replace(child)

    # --- losses

    def _lose(self, child: Child, message: str, rows: Sequence[int], kind: FailureKind = FailureKind.ERROR) -> None:
        """A process can do no more, and no sample is at fault, unless one always is there when it happens."""
        index = child.process
        has_worked = not self._losses.is_lost(index)
        pause = self._losses.add(index, is_idle=not rows)
        self._children.lost_for[index] = message
        if self._losses.is_hopeless(index):
            self._give_up(child, kind, message)
            return
        again = f"another one in {pause:g} s" if pause else "starting another"
        print(f"{child.name} is lost: {message}; {again}", flush=True)
        if rows:
            cause = FailedSample(rows[0], SampleFailureKind.CRASH, message)
            self._dealer.lose(rows, cause, SUSPECTED, may_blame=has_worked)
            self._check()
        self._children.retire(index)
        if not child.is_dead:  # as in _abandon
            raise AttemptFailed(FailureKind.CRASH, f"{child.name} is lost ({message}), but cannot be ended")
        self._take_back(child)
        self._deal_to_all()

    def _give_up(self, child: Child, kind: FailureKind, message: str) -> None:
        """Goes on without a process that worked until it was lost, or was lost too often; else raises AttemptFailed."""
        is_lost = child.process in self._worked or self._losses.is_hopeless(child.process)
        may_go_on = child.worker is None and is_lost and kind is not FailureKind.OUT_OF_MEMORY
        if not may_go_on or not self._ready - {child.process}:
            raise AttemptFailed(kind, message)
        self._losses.end(child.process)
        print(f"going on without {child.name} on {self.settings.devices[child.process]}: {message}", flush=True)
        self._children.retire(child.process)
        self._take_back(child)
        self._deal_to_all()

    def _deal_to_all(self) -> None:
        for index in self._ready:
            self._deal(index)

    def _start_process(self, index: int) -> None:
        """Another one in the place of one that is gone, with its workers."""
        self._children.restart(self._children.processes[index])
        for number in range(self.settings.workers):
            self._start_worker(index, number)

    def _take_back(self, child: Child) -> None:
        """What a process had that is gone is for others, as far as it is worth doing."""
        self._ready.discard(child.process)
        self._dealer.give_back(child.process)
        self._acceptance.forget(child.process)
        if self._unwanted:
            self._dealer.forget(self._unwanted)

    def _start_worker(self, index: int, number: int) -> None:
        try:
            self._children.start_worker(index, number, self._dealer.in_hand(index))
        except ConnectionError:
            return  # its process died as well and will be replaced with all its workers

    # --- the end

    def halt(self, grace: float) -> None:
        """Lets the processes finish the batch at hand, for ``grace`` seconds, and commits it."""
        halt(self._children, self._ready, self._commit_log, grace)

    def close(self, grace: float = 0.0, extra: Sequence[Any] = ()) -> None:
        """Ends all children: in order within ``grace`` seconds, or until one of ``extra`` is readable; then by SIGKILL."""
        if grace:
            self._children.stop(grace, extra)
        self._children.close()
