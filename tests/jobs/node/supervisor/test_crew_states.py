"""A crew whose children die in any order: each batch is in one place, each row is committed once, none fails unproven.

Hypothesis plays all children of a real Crew with its real Dealer: they become ready, commit, crash, are killed from
outside, by the kernel or by the crew itself, take too long, lose their device. Between any two events it may look, or not.
"""

import signal
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jobs.kinds import FailureKind
from jobs.machine import kernel_kills
from jobs.node.messages import Allocate, Allocated, Batch, Broken, Done, Ready
from jobs.node.supervisor import crew as crew_module
from jobs.node.supervisor.children import CrewSettings
from jobs.node.supervisor.commit_log import AttemptFailed
from jobs.node.supervisor.crew import Crew
from jobs.node.supervisor.dealer import DEATHS, KILLS
from jobs.node.supervisor.deaths import MemoryShort
from jobs.storage.records import Commit
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings
from tests.support.examples import examples
from tests.support.fake_children import FakeChild, FakeMeter, FakeServer

ROWS = 4
"""Of a batch."""
CRASHES = (-signal.SIGSEGV, -signal.SIGABRT, 1)


class Log:
    """Where commits go; none may come twice, and a sample has failed only on evidence."""

    def __init__(self, evidence: Counter[tuple[tuple[int, int], int]]) -> None:
        self.commits: dict[int, Commit] = {}
        self._evidence = evidence
        self._news = Spans()
        self.unwanted = Spans()

    def give_up(self, rows: Spans) -> None:
        """The crew hears of it when it next asks."""
        self._news |= rows
        self.unwanted |= rows

    def allocate(self, request: Allocate) -> Allocated:
        raise NotImplementedError

    def commit(self, commits: Sequence[Commit]) -> None:
        for commit in commits:
            assert commit.start not in self.commits, "a batch was committed twice"
            for sample in commit.failed:
                assert sample.attempts in (DEATHS, KILLS)
                assert self._evidence[(sample.row, sample.row + 1), sample.attempts] >= sample.attempts
            self.commits[commit.start] = commit

    def give_up_for_memory(self, rows: Collection[int]) -> Spans:
        raise AssertionError("a crew does not decide that")

    def check(self, open_failures: Collection[int]) -> Spans:
        news, self._news = self._news, Spans()
        return news


class CrewMachine(RuleBasedStateMachine):
    """``evidence`` counts deaths by rows and by how many of their kind prove a fault, as a crew has to."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(crew_module, "TICK", 0.0)
        self.kernel_kills = 0
        self.patch.setattr(kernel_kills, "_count", lambda file: self.kernel_kills)
        self.server, self.meter = FakeServer(), FakeMeter()
        self.evidence: Counter[tuple[tuple[int, int], int]] = Counter()
        self.log = Log(self.evidence)
        self.deaths: list[tuple[FakeChild, int]] = []
        self.idle_deaths: Counter[tuple[int, int | None]] = Counter()
        self.aside: list[Batch] = []
        self.starts: list[int] = []

    # --- the crew's side

    @initialize(processes=st.integers(1, 3), workers=st.integers(0, 2), count=st.integers(0, 12))
    def begin(self, processes: int, workers: int, count: int) -> None:
        backend: Any = None
        devices = ("cpu",) * processes
        self.setting = CrewSettings(backend, devices, workers, (1,) * processes, 1 << 30, Path(), 0)
        self.start_crew(self.more(count))
        self.goes_on()

    def more(self, count: int) -> list[Batch]:
        first = ROWS * len(self.starts)
        batches = [Batch(start, start + ROWS) for start in range(first, first + ROWS * count, ROWS)]
        self.starts += [batch.start for batch in batches]
        return batches

    def start_crew(self, batches: list[Batch]) -> None:
        server: Any = self.server
        meter: Any = self.meter
        self.crew = Crew(self.setting, server, NodeSettings(sample_timeout=0.0), meter)
        self.deaths.clear()
        self.idle_deaths.clear()
        self.crew.begin(self.log, batches)

    def step(self) -> None:
        """Lets the crew see all that has happened since the last step."""
        self.note_deaths()
        try:
            for _ in range(4):  # messages that one process may have sent since then
                self.crew.step([])
        except AttemptFailed as failed:
            self.attempt_failed(failed.kind)
        except MemoryShort as short:
            self.do_alone(short)
        self.server.listen()

    def goes_on(self, looks: bool = True) -> None:
        """The crew looks, and who was started anew gets ready; or not yet, so that more happens at once."""
        if not looks:
            return
        self.step()
        for child in self.server.processes():
            if not child.is_ready:
                child.send(Ready())
                child.is_ready = True
        self.step()

    def attempt_failed(self, kind: str) -> None:
        """It may for want of a device, or where children die and die at no row."""
        assert kind == "ERROR" or max(self.idle_deaths.values()) >= 3
        self.restart(self.crew.unfinished())

    def note_deaths(self) -> None:
        """What dies together with its process has no say of its own."""
        fallen = {child.process for child, _ in self.deaths if child.worker is None}
        for child, deaths in self.deaths:
            if child.worker is not None and child.process in fallen:
                continue
            if child.rows:
                self.evidence[child.rows, deaths] += 1
            else:
                self.idle_deaths[child.process, child.worker] += 1
        self.deaths.clear()

    def restart(self, batches: list[Batch]) -> None:
        """Another attempt goes on with what is left; what was proven before stays."""
        self.crew.close()
        proven = {sample.row for batch in [*batches, *self.aside] for sample in batch.failed}
        for rows, deaths in list(self.evidence):
            if rows[0] not in proven:
                del self.evidence[rows, deaths]
        self.start_crew(batches)

    def do_alone(self, short: MemoryShort) -> None:
        """As a task does it: the batch at fault first, by itself, then the others."""
        left = self.crew.unfinished()
        (alone,) = [batch for batch in left if batch.start <= short.rows[0] < batch.stop]
        self.log.commit([Commit(alone.start, alone.stop, (), alone.failed)])
        self.restart([batch for batch in left if batch is not alone])

    # --- what children do

    def ready(self) -> list[FakeChild]:
        return [child for child in self.server.processes() if child.is_ready]

    def in_hand(self, child: FakeChild) -> list[Batch]:
        """Of its process, for a pool worker."""
        owners = [one for one in self.ready() if one.process == child.process]
        return [batch for owner in owners for batch in owner.hand.values()]

    def one(self, data: st.DataObject, children: list[FakeChild]) -> FakeChild:
        """One of them, at a row of a batch that it has, or at the whole batch, or at none."""
        child = data.draw(st.sampled_from(children))
        batches = self.in_hand(child)
        where = data.draw(st.sampled_from(["row", "batch", "where it was"]))
        if batches and where != "where it was":
            batch = data.draw(st.sampled_from(batches[:2]))
            row = batch.start + data.draw(st.integers(0, 1))
            if where == "batch" and not batch.most:
                child.at((batch.start, batch.stop))
            elif row not in {sample.row for sample in batch.failed}:
                child.at((row, row + 1))
        return child

    def dies(self, child: FakeChild, exitcode: int, deaths: int) -> None:
        child.die(exitcode)
        self.deaths.append((child, deaths))

    @precondition(lambda self: any(child.hand for child in self.ready()))
    @rule(data=st.data(), count=st.integers(1, 3), dies=st.booleans(), looks=st.booleans())
    def commits(self, data: st.DataObject, count: int, dies: bool, looks: bool) -> None:
        child = data.draw(st.sampled_from([child for child in self.ready() if child.hand]))
        child.send(Done(tuple(child.finish(start) for start in list(child.hand)[:count])))
        child.at(None)
        self.idle_deaths.clear()
        if dies:
            self.dies(child, -signal.SIGSEGV, DEATHS)
        self.goes_on(looks)

    @rule(data=st.data(), exitcode=st.sampled_from(CRASHES), looks=st.booleans())
    def crashes(self, data: st.DataObject, exitcode: int, looks: bool) -> None:
        if living := self.server.living():
            self.dies(self.one(data, living), exitcode, DEATHS)
            self.goes_on(looks)

    @rule(data=st.data(), looks=st.booleans())
    def is_killed_from_outside(self, data: st.DataObject, looks: bool) -> None:
        if living := self.server.living():
            self.dies(self.one(data, living), -signal.SIGKILL, KILLS)
            self.goes_on(looks)

    @rule(data=st.data(), times=st.integers(1, KILLS + 1), exitcode=st.sampled_from([-signal.SIGKILL, 1]))
    def dies_again_and_again_at_the_same_rows(self, data: st.DataObject, times: int, exitcode: int) -> None:
        self.goes_on()
        if not (living := self.server.living()):
            return
        child = self.one(data, living)
        for _ in range(times):
            here = [one for one in self.server.living() if (one.process, one.worker) == (child.process, child.worker)]
            if not child.rows or not here or not self.is_open(child.rows):
                return
            here[0].at(child.rows)
            self.dies(here[0], exitcode, KILLS if exitcode == -signal.SIGKILL else DEATHS)
            self.goes_on()

    def is_open(self, rows: tuple[int, int]) -> bool:
        """Whether somebody could be at these rows."""
        batches = [batch for batch in self.crew.unfinished() if batch.start <= rows[0] < batch.stop]
        return any(rows[0] not in {sample.row for sample in batch.failed} for batch in batches)

    @rule(data=st.data(), by_kernel=st.booleans())
    def has_no_memory(self, data: st.DataObject, by_kernel: bool) -> None:
        self.goes_on()
        child = self.one(data, self.server.living())
        if not child.rows or not self.is_open(child.rows):
            return
        if by_kernel:
            self.kernel_kills += 1
            child.die(-signal.SIGKILL)
        else:
            self.meter.due, self.meter.total, self.meter.largest = True, 2 << 30, child.handle.pid
            self.crew.step([])
            self.meter.due, self.meter.total = False, 0
        self.goes_on()

    @rule(data=st.data())
    def takes_too_long(self, data: st.DataObject) -> None:
        self.goes_on()
        self.one(data, self.server.living())
        before = self.server.living()
        self.meter.due = True
        for _ in range(2):  # at the first look it sees where they are
            self.crew.step([])
        self.meter.due = False
        self.deaths += [(child, DEATHS) for child in before if not child.is_alive]
        self.goes_on()

    @rule(data=st.data())
    def loses_its_device(self, data: st.DataObject) -> None:
        if processes := self.server.processes():
            data.draw(st.sampled_from(processes)).send(Broken(FailureKind.ERROR, "CUDA error"))
            self.goes_on()

    @rule(data=st.data())
    def dies_and_its_workers_notice_first(self, data: st.DataObject) -> None:
        self.goes_on()
        if found := [child for child in self.server.processes() if child.workers]:
            dying = data.draw(st.sampled_from(found))
            for child in self.server.living():
                if child.process == dying.process and child.worker is not None:
                    child.at(None)
                    child.beacon.orphaned()
                    child.die(0)
            self.crew.step([])
            self.dies(dying, -signal.SIGKILL, KILLS)
            self.goes_on()

    # --- what the task does

    @rule(count=st.integers(1, 4))
    def gets_more(self, count: int) -> None:
        if len(self.starts) < 40:
            self.crew.extend(self.more(count))

    @precondition(lambda self: self.starts)
    @rule(data=st.data(), count=st.integers(1, 4), at_once=st.booleans())
    def some_rows_are_not_wanted_any_more(self, data: st.DataObject, count: int, at_once: bool) -> None:
        first = data.draw(st.sampled_from(self.starts))
        rows = Spans([(first, first + ROWS * count)]) & Spans([(0, ROWS * len(self.starts))])
        self.log.give_up(rows)
        if at_once:
            self.crew.forget(rows)

    @rule()
    def what_nobody_has_is_taken_back_or_given_again(self) -> None:
        if self.aside:
            self.crew.extend(self.aside)
            self.aside = []
        else:
            self.aside = self.crew.drop()

    # --- what must hold

    @property
    def wanted(self) -> set[int]:
        return {start for start in self.starts if start not in self.log.unwanted}

    @invariant()
    def every_batch_is_in_one_place(self) -> None:
        if self.starts:
            places = [*(batch.start for batch in [*self.crew.unfinished(), *self.aside]), *self.log.commits]
            assert len(places) == len(set(places))
            assert self.wanted <= set(places) <= set(self.starts)

    @invariant()
    def no_batch_is_in_two_hands(self) -> None:
        hands = Counter(start for child in self.server.processes() for start in child.hand)
        assert not [start for start, count in hands.items() if count > 1 and start not in self.log.commits]

    def teardown(self) -> None:
        """When nothing dies any more it ends, with every row."""
        try:
            if not self.starts and not hasattr(self, "crew"):
                return
            self.crew.extend(self.aside)
            for _ in range(10 + 2 * len(self.starts)):
                self.goes_on()
                for child in self.ready():
                    if child.hand:
                        child.send(Done(tuple(child.finish(start) for start in list(child.hand))))
                self.step()
            assert self.crew.finished
            assert self.wanted <= set(self.log.commits)
            self.crew.close()
        finally:
            self.server.close()
            self.patch.undo()


CrewMachine.TestCase.settings = settings(
    max_examples=examples(50), stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestCrewStates = CrewMachine.TestCase
