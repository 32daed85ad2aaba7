"""TopApp: the full screen: a list of runs where there are several, a screen of each, and logs."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.css.query import NoMatches
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static

from jobs.storage.rundir import RunDir
from launcher.status.progress import brief_line
from launcher.status.views import Turns
from launcher.top.run_screen import RunScreen
from launcher.top.tables import fill
from launcher.top.watched import WatchedRun
from launcher.visible import on_one_line


class TopApp(App[None]):
    """Looks at what is shown in a thread of its own: a file system that does not answer must not hold the keys."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [("q", "quit", "Quit")]

    def __init__(self, runs: Sequence[RunDir]) -> None:
        super().__init__()
        turns = Turns()
        self.watched = [WatchedRun(run, turns) for run in runs]
        self._done_with = threading.Event()

    def on_mount(self) -> None:
        self.push_screen(RunsScreen(self.watched) if len(self.watched) > 1 else RunScreen(self.watched[0]))
        self.run_worker(self._look_again_and_again, thread=True, exit_on_error=True)

    def on_unmount(self) -> None:
        self._done_with.set()

    def _look_again_and_again(self) -> None:
        while not self._done_with.is_set():
            pauses = [one.look() for one in self._shown()]
            if self._done_with.is_set():
                return
            self.call_from_thread(self._show)
            self._done_with.wait(max(pauses, default=1.0))

    def _shown(self) -> list[WatchedRun]:
        """Those that some screen is of; of all runs only a list has need."""
        of_one = [screen.watched for screen in self.screen_stack if isinstance(screen, RunScreen)]
        return of_one or self.watched

    def _show(self) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, RunScreen | RunsScreen):
                with suppress(NoMatches):  # it is being taken down, and has lost some of what it shows
                    screen.show()


class RunsScreen(Screen[None]):
    """Several runs, a line each; Enter opens one."""

    def __init__(self, watched: Sequence[WatchedRun]) -> None:
        super().__init__()
        self._watched = watched
        self._is_ready = False

    def compose(self) -> ComposeResult:
        yield Static(Text(f"{len(self._watched)} runs; Enter opens one"))
        yield DataTable(cursor_type="row")
        yield Footer()

    def on_mount(self) -> None:
        self._is_ready = True
        self.show()

    def show(self) -> None:
        if self._is_ready:  # the first look may be through before the screen is
            rows = {str(one.run.path): self._words(one) for one in self._watched}
            fill(self.query_one(DataTable), ("run", "state", "samples"), rows)

    def _words(self, one: WatchedRun) -> tuple[str, ...]:
        if one.status is None or one.problem:
            return on_one_line(one.name), "", on_one_line(one.problem) or "..."
        return on_one_line(one.name), one.status.state, brief_line(one.status)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        self.app.push_screen(RunScreen(next(one for one in self._watched if str(one.run.path) == event.row_key.value)))
