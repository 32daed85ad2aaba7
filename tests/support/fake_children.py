"""Children without processes: what a crew sees of its processes and pool workers, all of it in this one process.

A `FakeServer` stands where the fork server does. What it starts has the real pipes and beacon that a child would have; a
test plays the child's part by calling it. Dying is what it is for the supervisor: the pipe breaks, the sentinel is
readable, there is an exit code.
"""

import itertools
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from jobs.node.beacon import Beacon
from jobs.node.descriptors import receive_descriptor
from jobs.node.messages import Batch, Deal, Halt, Stop, Worker
from jobs.node.process.arguments import ProcessArguments
from jobs.node.supervisor.meter import Reading
from jobs.node.worker.worker import ChildArguments
from jobs.storage.records import Commit

# Above what Linux gives to processes, so that nothing real is ever meant.
_FIRST_PID = 1 << 23


class FakeHandle:
    """What a fork server returns: a pid, a sentinel that becomes readable at the end, an exit code."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.sentinel, self._alive = Pipe(duplex=False)
        self.exitcode: int | None = None
        self.hangs_in_the_kernel = False

    def end(self, exitcode: int) -> None:
        if self.exitcode is None:
            self.exitcode = exitcode
            self._alive.close()

    def kill(self) -> None:
        if not self.hangs_in_the_kernel:
            self.end(-signal.SIGKILL)

    def join(self, timeout: float | None = None) -> bool:
        assert self.exitcode is not None or self.hangs_in_the_kernel, "nobody would end it"
        return self.exitcode is not None

    def close(self) -> None:
        self._alive.close()
        self.sentinel.close()


def _told_apart(deal: Deal) -> Iterable[Batch]:
    """The batches of a deal, also where neighbours are told as one."""
    if not deal.are_rows:
        return deal.batches
    failed = {sample.row: sample for batch in deal.batches for sample in batch.failed}
    rows = ((row, batch.most) for batch in deal.batches for row in range(batch.start, batch.stop))
    return [Batch(row, row + 1, most, (failed[row],) if row in failed else ()) for row, most in rows]


@dataclass(eq=False)
class FakeChild:
    """A process (``worker`` is None) or pool worker; ``hand`` is what a process was dealt and has not committed."""

    process: int
    worker: int | None
    handle: FakeHandle
    beacon: Beacon
    connection: Connection | None
    hand: dict[int, Batch] = field(default_factory=dict)
    workers: set[int] = field(default_factory=set)
    is_ready: bool = False
    rows: tuple[int, int] | None = None

    @property
    def is_alive(self) -> bool:
        return self.handle.exitcode is None

    def listen(self) -> None:
        """Reads what the supervisor has sent to a process."""
        while self.is_alive and self.connection and self.connection.poll():
            message = self.connection.recv()
            match message:
                case Deal():
                    self.hand.update({batch.start: batch for batch in _told_apart(message)})
                case Worker():
                    os.close(receive_descriptor(self.connection))
                    self.workers.add(message.number)
                    self.hand.update({batch.start: batch for batch in message.batches if batch.start in self.hand})
                case Halt() | Stop():
                    pass

    def send(self, message: Any) -> None:
        assert self.connection is not None
        self.connection.send(message)

    def at(self, rows: tuple[int, int] | None) -> None:
        """Says in its beacon which rows it is at."""
        self.rows = rows
        if rows is None:
            self.beacon.idle()
        else:
            self.beacon.at(*rows)

    def finish(self, start: int) -> Commit:
        """Takes a batch out of its hand; the samples that are known to be bad have failed in it."""
        batch = self.hand.pop(start)
        return Commit(batch.start, batch.stop, (), batch.failed, bool(batch.most), 0.1)

    def die(self, exitcode: int) -> None:
        self.handle.end(exitcode)
        self.hang_up()

    def hang_up(self) -> None:
        """What is left of a pipe when its process is gone."""
        if self.connection:
            self.connection.close()
            self.connection = None


class FakeServer:
    """Stands for a ForkServer; ``children`` are those it was asked for and that have not ended."""

    def __init__(self) -> None:
        self.children: list[FakeChild] = []
        self.ticks = 0
        self._pids = itertools.count(_FIRST_PID)

    def start(self, target: object, arguments: Any, *descriptors: int) -> FakeHandle:
        mine = arguments.child if isinstance(arguments, ProcessArguments) else arguments
        assert isinstance(mine, ChildArguments)
        pipe, beacons = descriptors
        connection = Connection(os.dup(pipe)) if mine.context.worker_index is None else None
        handle = FakeHandle(next(self._pids))
        self.children.append(
            FakeChild(
                mine.context.process_index, mine.context.worker_index, handle, Beacon(beacons, mine.beacon), connection
            )
        )
        return handle

    def tick(self) -> None:
        self.ticks += 1

    def living(self) -> list[FakeChild]:
        """Those that were not killed meanwhile; the pipes of the others break."""
        for child in self.children:
            if not child.is_alive:
                child.hang_up()  # the crew keeps the sentinel
        self.children = [child for child in self.children if child.is_alive]
        return list(self.children)

    def processes(self) -> list[FakeChild]:
        return [child for child in self.living() if child.worker is None]

    def listen(self) -> None:
        for child in self.processes():
            child.listen()

    def close(self) -> None:
        for child in self.children:
            child.hang_up()
            child.handle.close()


class FakeMeter:
    """Stands for a Meter: a test says when the crew looks after its children, and who has how much memory then."""

    def __init__(self) -> None:
        self.due = False
        self.total, self.largest = 0, 0

    def is_due(self, interval: float) -> bool:
        return self.due

    def has_stopped(self, child: int) -> bool:
        return False

    def read(self, pids: Iterable[int]) -> Reading:
        return Reading(self.total, {self.largest: self.total})
