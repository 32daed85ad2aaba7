"""RunScreen: one run: how it stands, and its array tasks, nodes, shards and failures, each with the logs behind it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static, TabbedContent, TabPane

from jobs.storage.spans import Spans
from launcher.runs.holders import log_of
from launcher.status.pace import told
from launcher.status.progress import brief_line, group_words
from launcher.top.log_screen import LogScreen
from launcher.top.rows import TABLES
from launcher.top.tables import fill
from launcher.top.watched import WatchedRun
from launcher.visible import on_one_line

_FILTERS: Sequence[Mapping[str, bool]] = ({}, {"failed": True}, {"running": True}, {"slow": True})


class RunScreen(Screen[None]):
    """``watched`` is looked at by somebody else, who calls ``show`` then."""

    CSS = "#head { height: auto; } TabbedContent { height: 1fr; } DataTable { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("t", "tab('tasks')", "Tasks"),
        ("n", "tab('nodes')", "Nodes"),
        ("s", "tab('shards')", "Shards"),
        ("f", "tab('failures')", "Failures"),
        ("x", "filter", "Filter"),
        ("l", "logs", "Logs"),
        ("escape", "back", "Back"),
    ]

    def __init__(self, watched: WatchedRun) -> None:
        super().__init__()
        self.watched = watched
        self._filter = 0
        self._is_ready = False

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        with TabbedContent():
            for name in TABLES:
                with TabPane(name.capitalize(), id=name):
                    yield DataTable(id=f"{name}-table", cursor_type="row")
        yield Footer()

    def on_mount(self) -> None:
        self._is_ready = True
        self.show()

    def on_resize(self) -> None:
        self.show()

    def on_tabbed_content_tab_activated(self) -> None:
        self.show()
        self._table(self._active).focus()

    @property
    def _active(self) -> str:
        return self.query_one(TabbedContent).active or "tasks"

    def _table(self, name: str) -> "DataTable[Any]":
        return self.query_one(f"#{name}-table", DataTable)

    def show(self) -> None:
        """What was seen last: above, and in the table that is open."""
        if not self._is_ready:
            return
        self.query_one("#head", Static).update(self._head())
        if status := self.watched.status:
            table = TABLES[self._active]
            fill(self._table(self._active), table.heads, table.rows(status, _FILTERS[self._filter]))

    def _head(self) -> Text:
        one, width = self.watched, max(self.size.width, 20)
        status = one.status
        if status is None:
            return Text(on_one_line(one.problem) or f"{on_one_line(one.name)} ...")
        finished = (status.ok + status.failed) / max(status.total, 1)
        bar = ("━" * round(finished * (width - 2))).ljust(width - 2, "─")
        drawn = told(one.pace.rates(max(10, width // 2)))
        using = status.use.line if status.use else ""
        lines = [f"{on_one_line(one.name)}  {status.state}: {brief_line(status)}", bar, drawn, *filter(None, [using])]
        if one.problem:
            lines.append(on_one_line(one.problem))
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")

    # --- keys

    def action_tab(self, name: str) -> None:
        self.query_one(TabbedContent).active = name

    def action_filter(self) -> None:
        """Shows all shards, those that failed, that run, that are slow, in turn."""
        self._filter = (self._filter + 1) % len(_FILTERS)
        self.query_one(TabbedContent).active = "shards"
        chosen = next(iter(_FILTERS[self._filter]), "all")
        self.query_one(TabbedContent).get_tab("shards").label = f"Shards: {chosen}"
        self.show()

    def action_logs(self) -> None:
        """All of them."""
        self.app.push_screen(LogScreen(f"all logs of {self.watched.name}", self.watched.run))

    def action_back(self) -> None:
        if len(self.app.screen_stack) > 2:  # below the first one there is textual's own
            self.app.pop_screen()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """The logs behind a row."""
        status, run, key = self.watched.status, self.watched.run, str(event.row_key.value)
        match self._active:
            case "shards":
                self.app.push_screen(LogScreen(f"shard {key}", run, Spans([(int(key), int(key) + 1)])))
            case "failures" if status and int(key) < len(status.groups):
                group = status.groups[int(key)]
                title = f"{group_words(group)}: {group.message}\n{status.advice(group)}"
                self.app.push_screen(LogScreen(title, run, group.shards))
            case "tasks" if status:
                path = next((log_of(run, one) for one in status.shards.attempts if one.name == key), None)
                self.app.push_screen(LogScreen(f"{key}: {path}", run, only=path))
