"""LogScreen: logs, followed while they are shown."""

import threading
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import Footer, RichLog, Static

from jobs.errors import LauncherError
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from launcher.runs.log_choice import LogChoice
from launcher.runs.logs import read_logs, whole_lines
from launcher.visible import on_one_line, visible

_LINES = 200
_KEPT = 5000


class LogScreen(Screen[None]):
    """The last lines of each log of some shards, or of all, and what comes; ``only``: of one of the logs."""

    CSS = "#title { height: auto; } RichLog { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [("escape", "app.pop_screen", "Back")]

    def __init__(self, title: str, run: RunDir, shards: Spans | None = None, only: Path | None = None) -> None:
        super().__init__()
        self._heading = title
        self._run = run
        self._shards = shards
        self._only = only
        self._shown = RichLog(max_lines=_KEPT, wrap=True)
        self._done_with = threading.Event()

    def compose(self) -> ComposeResult:
        yield Static(Text(visible(self._heading)), id="title")
        yield self._shown
        yield Footer()

    def on_mount(self) -> None:
        self._shown.focus()
        self.run_worker(self._follow, thread=True)

    def on_unmount(self) -> None:
        self._done_with.set()

    def _follow(self) -> None:
        """In a thread of its own, until the screen is closed or nothing more can come."""
        try:
            plan = Plan.read(self._run.plan)
            rows = None if self._shards is None else plan.table.rows_of(self._shards.numbers)
            choice, shown = LogChoice(self._run, plan, rows), None
            for path, line in whole_lines(read_logs(choice, follow=True, tail=_LINES, wait=self._done_with.wait)):
                if self._only in (None, path):
                    if path != shown and self._only is None:
                        self._write(f"==> {path.name} <==")
                    shown = path
                    self._write(line.decode(errors="replace").rstrip("\r\n"))
            self._write("(nothing more will come)" if shown else "(there is no log)")
        except (LauncherError, OSError, ValueError) as error:
            self._write(str(error))

    def _write(self, line: str) -> None:
        """A line that comes while the screen is closed goes nowhere: its widget may be out of the screen already."""
        if not self._done_with.is_set():
            self.app.call_from_thread(self._shown.write, Text(on_one_line(line)))
