"""A crew whose Job takes samples one by one: no row waits while a process has room, and what is held back is decided."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from jobs.kinds import FailureKind, SampleFailureKind
from jobs.node.messages import Allocate, Allocated, Batch, Broken, Done, Hungry, Lost, Ready
from jobs.node.process.run_backend import RunBackend
from jobs.node.supervisor import losses as losses_module
from jobs.node.supervisor.children import CrewSettings
from jobs.node.supervisor.commit_log import AttemptFailed
from jobs.node.supervisor.crew import Crew
from jobs.node.supervisor.losses import IN_A_ROW, IN_A_ROW_IDLE
from jobs.storage.records import Commit, FailedSample, JobSpec
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings
from tests.support.fake_children import FakeChild, FakeMeter, FakeServer


class _Log:
    def __init__(self) -> None:
        self.rows: list[int] = []

    def allocate(self, request: Allocate) -> Allocated:
        raise NotImplementedError

    def commit(self, commits: Sequence[Commit]) -> None:
        self.rows += [commit.start for commit in commits]

    def check(self, open_failures: Collection[int]) -> Spans:
        return Spans()

    def give_up_for_memory(self, rows: Collection[int]) -> Spans:
        return Spans()


BACKEND = RunBackend(RunDir(Path("run")), JobSpec("jobs.job:Job"), 0, "attempt")


class _Samples:
    """A crew with ``rows`` samples to do."""

    def __init__(self, server: FakeServer, rows: int, processes: int = 2) -> None:
        self.server, self.log = server, _Log()
        fakes: Any = server, FakeMeter()
        settings = CrewSettings(BACKEND, ("cpu",) * processes, 0, (1,) * processes, 1 << 30, Path(), 0, in_flight=8)
        self.crew = Crew(settings, fakes[0], NodeSettings(), fakes[1])
        self.crew.begin(self.log, [Batch(row, row + 1) for row in range(rows)])

    def step(self) -> None:
        for _ in range(4):
            self.crew.step([], 0.0)
            self.server.listen()

    def child(self, process: int) -> FakeChild:
        return next(child for child in self.server.processes() if child.process == process)

    def asks(self, process: int, room: int, unfinished: int = 0) -> FakeChild:
        child = self.child(process)
        child.send(Hungry(unfinished, room))
        if not child.is_ready:
            child.send(Ready())
            child.is_ready = True
        self.step()
        return child

    def says(self, process: int, *commits: Commit) -> None:
        for commit in commits:
            del self.child(process).hand[commit.start]
        self.child(process).send(Done(commits))
        self.step()


def bad(row: int) -> Commit:
    return Commit(row, row + 1, (), (FailedSample(row, SampleFailureKind.PROCESS, "cannot do this"),))


def good(rows: Sequence[int]) -> list[Commit]:
    return [Commit(row, row + 1) for row in rows]


@pytest.fixture
def crew_of() -> Iterator[Callable[..., _Samples]]:
    server = FakeServer()
    made: list[_Samples] = []

    def make(rows: int, processes: int = 2) -> _Samples:
        made.append(_Samples(server, rows, processes))
        return made[-1]

    yield make
    for one in made:
        one.crew.close()
    server.close()


def test_what_a_crashed_process_had_is_for_those_that_have_room_though_they_asked_before(
    crew_of: Callable[..., _Samples],
) -> None:
    run = crew_of(20)
    first, second = run.asks(0, 100), run.asks(1, 100)
    assert (len(first.hand), len(second.hand)) == (10, 10)
    run.says(0, *good([*first.hand]))  # it has room for more, and said so before
    second.die(1)
    run.step()
    assert first.hand
    while first.hand:
        run.says(0, *good([*first.hand]))
    assert sorted(run.log.rows) == list(range(20))
    assert run.crew.finished


def test_a_lost_process_that_not_even_sigkill_ends_gets_no_successor(crew_of: Callable[..., _Samples]) -> None:
    run = crew_of(100, processes=1)
    child = run.asks(0, 60)
    child.handle.hangs_in_the_kernel = True
    with pytest.raises(AttemptFailed) as failed:
        run.says(0, *good([0]), *map(bad, range(1, 60)))
    assert (failed.value.kind, "cannot be ended" in failed.value.message) == (FailureKind.CRASH, True)


def test_an_engine_that_memory_ran_out_for_ends_the_attempt_as_that(
    crew_of: Callable[..., _Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses_module, "_LONGEST_PAUSE", 0.0)
    run = crew_of(100, processes=1)

    def lose(times: int) -> None:
        for _ in range(times):
            child = run.asks(0, 60)
            child.send(Lost("the engine ended", tuple(child.hand), FailureKind.OUT_OF_MEMORY))
            child.die(75)
            run.step()

    with pytest.raises(AttemptFailed) as failed:
        lose(IN_A_ROW)
    assert failed.value.kind is FailureKind.OUT_OF_MEMORY


def test_what_cannot_be_set_up_is_left_out_after_five_tries_where_others_work(
    crew_of: Callable[..., _Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses_module, "_LONGEST_PAUSE", 0.0)
    run = crew_of(20)
    run.asks(0, 100)
    for _ in range(IN_A_ROW_IDLE):
        run.child(1).send(Lost("setup: ProcessBroken: no such GPU"))
        run.child(1).die(75)
        run.step()
    assert [child.process for child in run.server.processes()] == [0]
    while run.child(0).hand:
        run.says(0, *good([*run.child(0).hand]))
    assert (sorted(run.log.rows), run.crew.finished) == (list(range(20)), True)


@pytest.mark.parametrize("kind", [FailureKind.DISK, FailureKind.ERROR])
def test_what_breaks_a_process_after_its_set_up_is_told_at_once(
    crew_of: Callable[..., _Samples], kind: FailureKind
) -> None:
    run = crew_of(100, processes=1)
    child = run.asks(0, 60)
    child.send(Lost("the engine ended", tuple(child.hand)))
    child.die(75)
    run.step()
    run.asks(0, 60)
    run.child(0).send(Broken(kind, "the disk is full"))
    with pytest.raises(AttemptFailed) as failed:
        run.step()
    assert (failed.value.kind, failed.value.message) == (kind, "the disk is full")


def test_failures_that_are_held_back_are_decided_when_another_process_does_the_rest(
    crew_of: Callable[..., _Samples],
) -> None:
    run = crew_of(20)
    first, second = run.asks(0, 8), run.asks(1, 12)
    assert (len(first.hand), len(second.hand), run.crew.waiting) == (8, 10, 2)
    run.says(0, *good([*first.hand][:5]))
    run.says(0, *map(bad, [*first.hand]))
    assert (len(run.log.rows), run.crew.finished) == (5, False)
    while second.hand:
        run.says(1, *good([*second.hand]))
    assert sorted(run.log.rows) == list(range(20))
    assert run.crew.finished


def test_failures_that_are_held_back_are_decided_when_nobody_is_to_do_the_rest(
    crew_of: Callable[..., _Samples],
) -> None:
    run = crew_of(20, processes=1)
    child = run.asks(0, 8)
    run.says(0, *good([*child.hand][:5]), *map(bad, [*child.hand][5:]))
    assert len(run.log.rows) == 5
    run.crew.forget(Spans([(0, 20)]))
    run.step()
    assert sorted(run.log.rows) == list(range(8))
    assert run.crew.finished
