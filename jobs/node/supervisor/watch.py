"""Watch: looks after a crew's children twice a second: those that take too long, and those that take too much memory."""

from collections.abc import Sequence

from jobs.kinds import SampleFailureKind
from jobs.machine.kernel_kills import KernelKills
from jobs.node.supervisor.child import END_SECONDS, Child
from jobs.node.supervisor.children import TICK, Children
from jobs.node.supervisor.meter import STOPPED, Meter, Reading
from jobs.node.worker.loading import too_long

# Seconds that are over before a child is killed for a sample: an async load is timed in its worker, which need not die for it.
_SLACK = 1.0


class Watch:
    """``memory`` is what the task may use, bytes."""

    def __init__(
        self, children: Children, meter: Meter, kernel_kills: KernelKills, sample_timeout: float, memory: int
    ) -> None:
        self._children = children
        self._meter = meter
        self._kernel_kills = kernel_kills
        self._sample_timeout = sample_timeout
        self._memory = memory

    def look(self) -> Sequence[Child]:
        """Kills children, if it is time to look; returns those that do not end, though they were killed."""
        if not self._meter.is_due(TICK):
            return ()
        for child in self._overdue():
            stopped = STOPPED if self._meter.has_stopped(child.pid) else ""
            child.kill(SampleFailureKind.SAMPLE_TIMEOUT, f"{too_long(self._sample_timeout)}{stopped}")
        unending = self._unending()
        self._kernel_kills.look()
        self._children.server.tick()
        reading = self._meter.read(child.pid for child in self._children)
        if reading.total > self._memory:
            self._make_room(reading)
        return unending

    def _overdue(self) -> list[Child]:
        """Those that have been at the same rows for longer than the time-out for each of them."""
        now = self._children.clock.now
        late = []
        for child in self._children:
            at, rows = self._children.doing(child)
            if at != child.watched[0]:
                child.watched = (at, now)
            elif rows and now - child.watched[1] > self._sample_timeout * rows + _SLACK and not child.killed_for:
                late.append(child)
        return late

    def _unending(self) -> list[Child]:
        """Those that SIGKILL should have ended by now."""
        now = self._children.clock.now
        found = []
        for child in self._children:
            if child.is_killed and not child.is_dead:
                if child.unending_since is None:
                    child.unending_since = now
                elif now - child.unending_since > END_SECONDS:
                    found.append(child)
        return found

    def _make_room(self, reading: Reading) -> None:
        """Kills the child that takes most with what it has started, unless it is dying already."""
        for child in self._children:
            if child.pid == reading.largest and not child.killed_for:
                child.kill(SampleFailureKind.OUT_OF_MEMORY)
