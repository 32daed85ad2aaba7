"""Views that follow a run: redrawn on a terminal, a line now and then in a pipe."""

import os
import textwrap
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, Self, TextIO

from jobs.kinds import RunState
from launcher.runs.find import reference
from launcher.status.nodes import node_lines, node_loads
from launcher.status.pace import Pace, told
from launcher.status.progress import state_lines, summary_line
from launcher.status.reader import StatusReader
from launcher.status.status import SHARD_STATES, Status

_LINE_SECONDS = 5.0
_LOOK_SECONDS = 0.5
# Looking takes at most this share of the time, however large the run is.
_LOOK_SHARE = 0.1
# One question to the scheduler in this time, seconds, is less than admins notice.
_SCHEDULER_SECONDS = 300.0
_BAR_WIDTH = 60
# Nodes of which a screen that is redrawn tells, at most.
_NODES = 8


class View(Protocol):
    """Shows a status that changes."""

    def show(self, status: Status) -> None:
        """Called with each new status."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class LineView(AbstractContextManager["LineView"]):
    """A line when something changed, at most one in some seconds; the command prints how it ended.

    Of a run that waits it is that of the run for which it does.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._last: tuple[object, ...] = ()
        self._shown_at = -_LINE_SECONDS

    def show(self, status: Status) -> None:
        now, link = self._clock(), None if status.state is RunState.RUNNING else status.chain.blocking
        name, status = (f"{reference(link.run)}  ", link.status) if link and link.status else ("", status)
        seen = (status.state, status.ok, status.failed, status.beyond_samples, *map(status.count, SHARD_STATES))
        if seen != self._last and now - self._shown_at >= _LINE_SECONDS and status.state is RunState.RUNNING:
            self._last, self._shown_at = seen, now
            print(f"{name}{summary_line(status)}", file=self._stream, flush=True)

    def __exit__(self, *_: object) -> None:
        return None


class TerminalView:
    """A bar, how fast it went, where it runs, and the text of `launcher status`, redrawn: as much as the terminal holds."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._pace = Pace()

    def show(self, status: Status) -> None:
        from rich.console import Group
        from rich.constrain import Constrain
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        self._pace.note(status)
        columns, height = self._console.size
        # A terminal shows ^C where the cursor is: on the next line it would upset what is redrawn.
        width = columns - len("^C")
        bar = ProgressBar(total=max(status.total, 1), completed=status.ok + status.failed, width=min(_BAR_WIDTH, width))
        lines = screen_lines(status, self._pace, width, height - 2, unicode=self._console.encoding.startswith("utf"))
        text = Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
        above = Table.grid()
        above.add_row(bar)  # which ends no line by itself
        self._live.update(Constrain(Group(above, text), width), refresh=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def screen_lines(status: Status, pace: Pace, width: int, height: int, *, unicode: bool = True) -> list[str]:
    """What a screen of this size shows below a bar. What does not fit is left out, nodes before anything else."""
    rates = pace.rates(max(10, width // 2))
    fastest = f"  {told(rates)}" if unicode and len(rates) > 1 else ""
    lines = [part for line in state_lines(status) for part in _fitting(line, width)]
    lines[:0] = [fastest] if fastest else []
    loads = node_loads(status.shards, status.laggards.nodes)
    room = min(_NODES, height - len(lines) - 2)
    nodes = [f"  {line}" for line in node_lines(loads, room)] if loads and room > 0 else []
    return [*lines, *nodes][:height]


def _fitting(line: str, width: int) -> list[str]:
    """A line as several, what is below it further to the right."""
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.wrap(line, max(width, 40), subsequent_indent=indent, break_on_hyphens=False) or [""]


def make_view(stream: TextIO) -> View:
    """The view that suits the stream: a terminal of which nothing is known but that it prints is as a pipe."""
    can_redraw = stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
    return TerminalView(stream) if can_redraw else LineView(stream)


def follow(reader: StatusReader, view: View, *, live: bool) -> Status:
    """Shows the run until it does not go on by itself; returns its last status. ``live``: as in Looks."""
    looks = Looks(reader, live=live)
    with view:
        while True:
            status = looks.look()
            view.show(status)
            if looks.is_over(status):
                return status
            time.sleep(looks.pause())


class Turns:
    """When a command may ask a scheduler, for whichever run: now and then, the first time after a while."""

    def __init__(self) -> None:
        self._asked = time.monotonic()

    def take(self) -> bool:
        """Whether it is time; then it is not again for long."""
        now = time.monotonic()
        is_time = now - self._asked > _SCHEDULER_SECONDS
        self._asked = now if is_time else self._asked
        return is_time


class Looks:
    """Looks at a run again and again, until it does not go on by itself.

    The run directory tells all that happens but one thing: that a scheduler lost the jobs. ``live``: it is asked now
    and then; several runs share their ``turns``.
    """

    def __init__(self, reader: StatusReader, *, live: bool, turns: Turns | None = None) -> None:
        self._reader = reader
        self._is_live = live
        self._turns = turns or Turns()
        self._started = time.monotonic()

    def look(self) -> Status:
        self._started = time.monotonic()
        return self._reader.read(live=self._is_live and self._reader.is_polled and self._turns.take())

    @staticmethod
    def is_over(status: Status) -> bool:
        return status.state is not RunState.RUNNING and not status.chain.goes_on

    def pause(self) -> float:
        """Seconds until the next look: looking takes a small share of the time, however large the run is."""
        return max(_LOOK_SECONDS, (time.monotonic() - self._started) / _LOOK_SHARE)
