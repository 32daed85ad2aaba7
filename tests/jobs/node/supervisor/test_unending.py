"""Children that not even SIGKILL ends: they wait in the kernel, for a file system that does not answer."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from jobs.kinds import FailureKind, SampleFailureKind
from jobs.node.messages import Allocate, Allocated, Batch, Done, Ready
from jobs.node.supervisor import child as child_module
from jobs.node.supervisor import crew as crew_module
from jobs.node.supervisor import watch as watch_module
from jobs.node.supervisor.children import CrewSettings
from jobs.node.supervisor.commit_log import AttemptFailed
from jobs.node.supervisor.crew import Crew
from jobs.storage.records import Commit, FailedSample
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings
from tests.support.fake_children import FakeChild, FakeMeter, FakeServer


class _Log:
    def __init__(self) -> None:
        self.commits: list[Commit] = []

    def allocate(self, request: Allocate) -> Allocated:
        raise NotImplementedError

    def commit(self, commits: Sequence[Commit]) -> None:
        self.commits += commits

    def check(self, open_failures: Collection[int]) -> Spans:
        return Spans()

    def give_up_for_memory(self, rows: Collection[int]) -> Spans:
        return Spans()


class _Hanging:
    """A crew of one process with one pool worker, whose ``sample_timeout`` is over whenever it looks."""

    def __init__(self, server: FakeServer, meter: FakeMeter) -> None:
        self.server = server
        self.meter = meter
        self.log = _Log()
        backend: Any = None
        fakes: Any = server, meter
        settings = CrewSettings(backend, ("cpu",), 1, (1,), 1 << 30, Path(), 0)
        self.crew = Crew(settings, fakes[0], NodeSettings(sample_timeout=0.0), fakes[1])
        self.crew.begin(self.log, [Batch(0, 4)])
        self.child(None).send(Ready())
        self.crew.step([])
        server.listen()

    def child(self, worker: int | None) -> FakeChild:
        return next(child for child in self.server.living() if child.worker == worker)

    def hang(self, child: FakeChild, rows: tuple[int, int]) -> None:
        """It comes to these rows, and hangs in the kernel when it is killed for that."""
        child.handle.hangs_in_the_kernel = True
        child.at(rows)
        self.meter.due = True
        for _ in range(4):  # it sees where the child is; that it is late, and kills it; that it does not end
            self.crew.step([])


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Hanging]:
    monkeypatch.setattr(crew_module, "TICK", 0.0)
    for module in (child_module, watch_module):
        monkeypatch.setattr(module, "END_SECONDS", 0.0)
    monkeypatch.setattr(watch_module, "_SLACK", 0.0)
    server = FakeServer()
    yield _Hanging(server, FakeMeter())
    server.close()


def test_another_pool_worker_takes_the_place_of_one_that_cannot_be_ended(
    hanging: _Hanging, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        stuck = hanging.child(0)
        hanging.hang(stuck, (1, 2))
        hanging.server.children.remove(stuck)
        assert hanging.child(0).handle.pid != stuck.handle.pid
        hanging.meter.due = False
        hanging.server.listen()
    said = capfd.readouterr().out
    assert "took longer than sample_timeout (0 s), and was killed at sample 1; starting another" in said
    assert "cannot be ended, not even by SIGKILL, and is left behind" in said
    process = hanging.child(None)
    process.send(Done((process.finish(0),)))
    hanging.crew.step([])
    (commit,) = hanging.log.commits
    assert [(sample.row, sample.kind) for sample in commit.failed] == [(1, "SAMPLE_TIMEOUT")]
    assert hanging.crew.finished


def test_no_other_process_may_write_to_the_file_of_one_that_cannot_be_ended(hanging: _Hanging) -> None:
    with pytest.raises(AttemptFailed, match="but cannot be ended") as failed:
        hanging.hang(hanging.child(None), (0, 4))
    assert failed.value.kind is FailureKind.CRASH


def test_it_is_left_behind_when_the_crew_ends(hanging: _Hanging, capfd: pytest.CaptureFixture[str]) -> None:
    hanging.child(0).handle.hangs_in_the_kernel = True
    hanging.crew.close()
    assert "process 0, pool worker 0 (pid" in capfd.readouterr().out


def test_samples_that_fail_after_a_stop_signal_are_left_to_the_next_attempt(hanging: _Hanging) -> None:
    process = hanging.child(None)
    failed = process.finish(0)._replace(failed=(FailedSample(1, SampleFailureKind.PROCESS, "its helper died"),))
    process.send(Done((failed, Commit(4, 8))))
    process.hang_up()
    hanging.crew.halt(5.0)
    assert hanging.log.commits == [Commit(4, 8)]
