"""Views that follow a run: redrawn on a terminal, a line now and then in a pipe."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, Self, TextIO

from jobs.kinds import RunState
from launcher.runs.find import reference
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
        now, link = self._clock(), status.chain.blocking
        name, status = (f"{reference(link.run)}  ", link.status) if link and link.status else ("", status)
        seen = (status.state, status.ok, status.failed, status.beyond_samples, *map(status.count, SHARD_STATES))
        if seen != self._last and now - self._shown_at >= _LINE_SECONDS and status.state is RunState.RUNNING:
            self._last, self._shown_at = seen, now
            print(f"{name}{summary_line(status)}", file=self._stream, flush=True)

    def __exit__(self, *_: object) -> None:
        return None


class TerminalView:
    """A bar and the text of `launcher status`, redrawn in place."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(file=stream), auto_refresh=False, transient=True)

    def show(self, status: Status) -> None:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        screen = Table.grid()
        screen.add_row(ProgressBar(total=max(status.total, 1), completed=status.ok + status.failed, width=_BAR_WIDTH))
        screen.add_row(Text("\n".join(state_lines(status))))
        self._live.update(screen, refresh=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def make_view(stream: TextIO) -> View:
    """The view that suits the stream."""
    return TerminalView(stream) if stream.isatty() else LineView(stream)


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


class Looks:
    """Looks at a run again and again, until it does not go on by itself.

    The run directory tells all that happens but one thing: that a scheduler lost the jobs. ``live``: it is asked now
    and then.
    """

    def __init__(self, reader: StatusReader, *, live: bool) -> None:
        self._reader = reader
        self._is_live = live
        self._asked = self._started = time.monotonic()

    def look(self) -> Status:
        self._started = time.monotonic()
        asks = self._is_live and self._reader.is_polled and self._started - self._asked > _SCHEDULER_SECONDS
        self._asked = self._started if asks else self._asked
        return self._reader.read(live=asks)

    @staticmethod
    def is_over(status: Status) -> bool:
        return status.state is not RunState.RUNNING and not status.chain.goes_on

    def pause(self) -> float:
        """Seconds until the next look: looking takes a small share of the time, however large the run is."""
        return max(_LOOK_SECONDS, (time.monotonic() - self._started) / _LOOK_SHARE)
