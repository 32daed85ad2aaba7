"""``launcher top``, driven by keys: tables of a run, the logs behind their rows, several runs, another size of the terminal."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from textual.css.query import NoMatches
from textual.pilot import Pilot
from textual.widgets import DataTable, RichLog, Static, TabbedContent

from jobs.kinds import EndReason, FailureKind
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.stamps import stamp
from launcher.runs.submissions import Outcome
from launcher.status import views
from launcher.status.reader import StatusReader
from launcher.status.status import Status
from launcher.top.app import TopApp
from launcher.top.log_screen import LogScreen
from launcher.top.run_screen import RunScreen
from tests.support.builders import AttemptWriter, build_plan, build_run
from tests.support.patience import PATIENCE

HERE = ProcessIdentity.current().to_json()
Drive = Callable[[Pilot[None]], Awaitable[None]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunDir]:
    """Four shards: one is done with a failed sample, one in work, one that failed, one that waits."""
    monkeypatch.chdir(tmp_path)
    run = build_plan(Path("runs/toy"), (0, 16, 32, 48, 64))
    for worker in range(3):
        run.log(1, worker).write_text(f"{stamp('p0')}[b]words[/b] of {worker}\n")
    with AttemptWriter(run, 1, 0, began=time.time() - 60) as first:
        first.hold(0, 16)
        first.commit_all(Spans([(0, 16)]), bad=[3])
        first.beat(end=EndReason.DONE)
    with AttemptWriter(run, 1, 2) as third:
        third.hold(32, 48)
        third.give_up(2, FailureKind.ERROR, "no [model]")
        third.beat(end=EndReason.FAILED, kind=FailureKind.ERROR, message="no [model]")
    devices = ("cuda:0", "cuda:1")
    with AttemptWriter(run, 1, 1, process=HERE, devices=devices, cpus=8, memory=4 << 30, gpus=2) as second:
        second.hold(16, 32)
        second.commit_all(Spans([(16, 24)]))
        second.beat(rate=12.5, memory=3 << 30, begun=32, busy_cpus=5.25, busy_gpus=0.87)
        yield run


def driven(runs: list[RunDir], drive: Drive, size: tuple[int, int] = (80, 24)) -> None:
    async def whole() -> None:
        app = TopApp(runs)
        async with app.run_test(size=size) as pilot:
            await drive(pilot)

    asyncio.run(whole())


async def until(pilot: Pilot[None], holds: Callable[[], Any]) -> None:
    for _ in range(int(PATIENCE / 0.05)):
        with suppress(NoMatches):  # the screen is about to change
            if holds():
                return
        await pilot.pause(0.05)
    raise AssertionError("it never holds")


def rows(pilot: Pilot[None]) -> list[list[str]]:
    """Of the table that is open."""
    screen = pilot.app.screen
    open_tab = screen.query_one(TabbedContent).active
    table: DataTable[Any] = screen.query_one(f"#{open_tab}-table", DataTable)
    return [[cell.plain for cell in table.get_row(key)] for key in table.rows]


def log(pilot: Pilot[None]) -> list[str]:
    found = pilot.app.screen.query(RichLog)
    return [line.text.rstrip() for line in found.first().lines] if found else []


def head(pilot: Pilot[None]) -> str:
    return str(pilot.app.screen.query_one("#head", Static).render())


def test_a_run_is_shown_by_its_tasks_nodes_shards_and_failures_with_the_logs_behind(run: RunDir) -> None:
    async def drive(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and rows(pilot))
        assert "toy  running: 24 of 64 samples (37%), 1 failed, 1 shard failed" in head(pilot)
        (task,) = rows(pilot)
        assert task[:4] == ["0001-00001", "host", "8", "12.5"]
        assert task[4:8] == ["5.2 of 8", "3.0G of 4.0G", "87% of 2", "2 cuda"]
        assert "CPUs 5.2 of 8, memory 3.0G of 4.0G, GPUs 87% of 2" in head(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: any(line.endswith("p0 [b]words[/b] of 1") for line in log(pilot)))
        await pilot.press("escape", "n")
        await until(pilot, lambda: [row[:5] for row in rows(pilot)] == [["host", "1", "2 cuda", "12.5", "5.2 of 8"]])
        labels = [
            column.label.plain for column in pilot.app.screen.query_one("#nodes-table", DataTable).columns.values()
        ]
        assert labels == ["node", "tasks", "devices", "samples/s", "CPUs", "memory", "GPUs"], "none is slow"
        await pilot.press("s")
        await until(pilot, lambda: [row[1] for row in rows(pilot)] == ["done", "running", "failed", "pending"])
        await pilot.press("x")
        await until(pilot, lambda: [row[:2] for row in rows(pilot)] == [["0", "done"], ["2", "failed"]])
        await pilot.press("down", "enter")
        await until(pilot, lambda: any(line.endswith("p0 [b]words[/b] of 2") for line in log(pilot)))
        assert not any(line.endswith("of 1") for line in log(pilot))
        await pilot.press("escape", "f")
        await until(pilot, lambda: any(row[1] == "no [model]" for row in rows(pilot)))
        await pilot.press("enter")
        await until(pilot, lambda: log(pilot)[-1:] == ["(nothing more will come)"])
        assert "launcher rerun toy" in str(pilot.app.screen.query_one("#title", Static).render())
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))

    driven([run], drive)


def test_it_is_looked_at_again_and_another_size_of_the_terminal_changes_nothing(run: RunDir) -> None:
    async def drive(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and rows(pilot))
        for size in ((40, 10), (200, 60), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert "running: 24 of 64" in head(pilot)
        Outcome(0.0, cancelled=True).write(run, 1)
        with AttemptWriter(run, 1, 3) as writer:
            writer.hold(48, 64)
            writer.commit_all(Spans([(48, 64)]))
            writer.beat(end=EndReason.DONE)
        await until(pilot, lambda: "40 of 64" in head(pilot))
        run.path.rename("elsewhere")
        await until(pilot, lambda: "toy" in head(pilot) and "40 of 64" in head(pilot) and head(pilot).count("\n") > 2)

    driven([run], drive)


def test_a_line_that_comes_while_the_screen_of_a_log_is_closed_is_dropped(run: RunDir) -> None:
    async def drive(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and rows(pilot))
        await pilot.press("l")
        await until(pilot, lambda: any(line.endswith("words[/b] of 1") for line in log(pilot)))
        closing = pilot.app.screen
        assert isinstance(closing, LogScreen)
        await closing.query_one(RichLog).remove()  # textual takes out what is in a screen before the screen knows
        await asyncio.to_thread(closing._write, "late")  # as the thread does that follows the log
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and rows(pilot))

    driven([run], drive)


def test_a_look_that_is_through_while_the_screen_is_taken_down_ends_nothing(run: RunDir) -> None:
    async def drive(pilot: Pilot[None]) -> None:
        assert isinstance(pilot.app, TopApp)
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and rows(pilot))
        await pilot.app.screen.query_one("#head").remove()
        pilot.app._show()

    driven([run], drive)


def test_of_several_runs_there_is_a_list_and_each_opens(run: RunDir) -> None:
    other = build_run(Path("runs/other"))
    Outcome(1.0).write(other, 1)

    async def drive(pilot: Pilot[None]) -> None:
        table: Callable[[], DataTable[Any]] = lambda: pilot.app.screen.query_one(DataTable)  # noqa: E731
        await until(pilot, lambda: [table().get_row_at(1)[1].plain] == ["incomplete"] if table().row_count else False)
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and "64 of 64" in head(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, RunScreen))
        await pilot.press("q")

    driven([run, other], drive)


def test_a_scheduler_is_asked_once_in_five_minutes_however_many_runs_there_are(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, asked = [1000.0], []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(StatusReader, "is_polled", True)
    read = StatusReader.read

    def noted(self: StatusReader, *, live: bool = False) -> Status:
        asked.append(live)
        return read(self)

    monkeypatch.setattr(StatusReader, "read", noted)
    turns = views.Turns()
    looks = [views.Looks(StatusReader(run), live=True, turns=turns) for _ in range(3)]
    for _ in range(4):
        counts = []
        for seconds in (299.0, 2.0):
            clock[0] += seconds
            asked.clear()
            for one in looks:
                one.look()
            counts.append(sum(asked))
        assert counts == [0, 1]
