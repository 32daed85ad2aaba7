"""Deaths: what the deaths of a crew's children tell: which rows they were at, and whether one is bad or memory ran out."""

import signal
from collections import Counter

from jobs.kinds import FailureKind, SampleFailureKind
from jobs.machine.kernel_kills import KernelKills
from jobs.node.border import CLOSED
from jobs.node.supervisor.child import Child, at
from jobs.node.supervisor.children import Children
from jobs.node.supervisor.dealer import DEATHS, KILLS, Dealer
from jobs.storage.records import FailedSample

# A child that dies this often while it is at no row, with nothing committed in between, will go on dying.
_IDLE = 3


class MemoryShort(Exception):
    """A child was killed because the task's memory ran out; ``rows`` are those it was at, ``device`` its process's.

    ``together`` is how many samples it had in flight, of these and no others; 0: it was at a batch.
    """

    def __init__(self, rows: tuple[int, int], device: str, text: str, together: int = 0) -> None:
        super().__init__(text)
        self.rows = rows
        self.device = device
        self.together = together


class Deaths:
    """``went_on`` is to be called when something was committed."""

    def __init__(self, children: Children, devices: tuple[str, ...], kernel_kills: KernelKills) -> None:
        self._children = children
        self._devices = devices
        self._kernel_kills = kernel_kills
        self._idle: Counter[str] = Counter()

    def went_on(self) -> None:
        self._idle.clear()

    def judge(self, child: Child, dealer: Dealer) -> bool:
        """Has the dealer know of the rows that a dead child was at; returns whether it was at any.

        Raises MemoryShort.
        """
        rows = self._children.span(child)
        # A process without pool workers loads in between: then it died of the row in its beacon, and of no other.
        in_flight = self._children.in_flight(child) if rows is None else ()
        if in_flight:
            rows = in_flight[0], in_flight[-1] + 1
        print(f"{child.name} {child.how}{at(rows)}; starting another", flush=True)
        if rows is None:
            return False
        if self._was_memory(child):
            raise MemoryShort(rows, self._devices[child.process], f"{child.name}{at(rows)}", len(in_flight))
        self._blame(child, dealer, rows, in_flight)
        return True

    def _was_memory(self, child: Child) -> bool:
        """Whether the kernel's OOM killer, or this crew's own watch, took the child."""
        if child.killed_for:
            return child.killed_for is SampleFailureKind.OUT_OF_MEMORY
        return child.handle.exitcode == -signal.SIGKILL and self._kernel_kills.explain()

    def _blame(self, child: Child, dealer: Dealer, rows: tuple[int, int], in_flight: tuple[int, ...]) -> None:
        is_from_outside = child.handle.exitcode == -signal.SIGKILL and not child.killed_for
        deaths = KILLS if is_from_outside else DEATHS
        role = "the process" if child.worker is None else "the pool worker"
        cause = f"{role} died of {child.exit_text()}"
        if child.killed_for is SampleFailureKind.SAMPLE_TIMEOUT:
            cause = child.killed_why
        elif self._children.is_cut_off(child):
            cause = CLOSED
        kind = child.killed_for or SampleFailureKind.CRASH
        if in_flight:
            dealer.lose(in_flight, FailedSample(rows[0], kind, cause), deaths)
        else:
            dealer.blame(rows, kind, cause, deaths)

    def idle(self, child: Child) -> tuple[FailureKind, str] | None:
        """Counts a death at no row; once there are too many, what the attempt ends as."""
        self._idle[child.name] += 1
        if self._idle[child.name] < _IDLE:
            return None
        kind = FailureKind.OUT_OF_MEMORY if self._was_memory(child) else FailureKind.CRASH
        why = CLOSED if self._children.is_cut_off(child) else child.exit_text()
        return kind, f"{child.name} died {_IDLE} times in a row: {why}"
