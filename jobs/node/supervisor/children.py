"""Children: the processes and pool workers of an array task, as the supervisor starts, watches and replaces them.

All are forked by one fork server that has imported what the Job needs, pool workers too: their process may have used
torch, whose threads do not survive a fork.
"""

import contextlib
import math
import multiprocessing
import selectors
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from jobs.job import Context
from jobs.machine.running_time import RunningTime
from jobs.node.backend import Backend
from jobs.node.beacon import Beacons, RowRange
from jobs.node.channel import Channel
from jobs.node.messages import Batch, Stop, Worker
from jobs.node.process import process
from jobs.node.process.arguments import ProcessArguments
from jobs.node.supervisor.child import Child, at, end
from jobs.node.supervisor.fork_server import Forked, ForkServer
from jobs.node.supervisor.guardian import Target
from jobs.node.worker import worker
from jobs.node.worker.worker import ChildArguments

# What it means that something became readable.
_TALKS, _DIES, _OTHER = "talks", "dies", "other"
# Seconds between looks at time-outs and memory: a death is noticed at once, a time-out within this.
TICK = 0.5


@dataclass(frozen=True)
class CrewSettings:
    """What all children of a task share; ``memory`` is the most that one pool worker may take, bytes.

    ``poison``: batches are overwritten when they are through. ``in_flight`` is how many samples a process has under way at
    a time, where it takes them one by one. ``gpus`` are those of each process that it has to itself.
    """

    backend: Backend
    devices: tuple[str, ...]
    workers: int
    threads: tuple[int, ...]
    memory: int
    scratch: Path
    seed: int
    sample_timeout: float = math.inf
    poison: bool = False
    in_flight: int = 1
    gpus: tuple[tuple[str, ...], ...] = ()

    def alone(self, device: str) -> "CrewSettings":
        """Those of a crew of one process on this device, with one pool worker at most."""
        workers = min(self.workers, 1)
        return replace(self, devices=(device,), threads=self.threads[:1], workers=workers, gpus=self.gpus[:1])

    def fewer(self) -> "CrewSettings":
        """Those of a crew with half the pool workers, or, where a process has one at most, half the processes on CPUs."""
        if self.workers > 1:
            return replace(self, workers=self.workers // 2)
        count = len(self.devices) if any(device != "cpu" for device in self.devices) else (len(self.devices) + 1) // 2
        return replace(self, devices=self.devices[:count], threads=self.threads[:count])


@dataclass
class Children:
    """All children of a task; a dead one is replaced by another with the same place.

    ``lost_for``: why the process of a place was last lost, so that the next one need not tell the same at length.
    """

    settings: CrewSettings
    server: ForkServer
    processes: list[Child] = field(default_factory=list)
    workers: dict[tuple[int, int], Child] = field(default_factory=dict)
    retired: set[int] = field(default_factory=set)
    lost_for: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._per_process = 1 + self.settings.workers
        self._memory = self.settings.memory // len(self.settings.devices)
        processes = len(self.settings.devices)
        self._beacons = Beacons(processes * self._per_process, processes, self.settings.in_flight)
        self._selector: selectors.BaseSelector = selectors.DefaultSelector()
        self._watched: list[tuple[Any, int, str, Any]] = []
        self.clock = RunningTime()

    def __iter__(self) -> Iterator[Child]:
        yield from (child for child in self.processes if child.process not in self.retired)
        yield from self.workers.values()

    def start(self) -> None:
        """Starts every process and its workers."""
        for index in range(len(self.settings.devices)):
            self.processes.append(self._start_process(index))
        for index in range(len(self.settings.devices)):
            with contextlib.suppress(ConnectionError):  # it died already; its sentinel tells
                self.start_workers(index)

    def restart(self, child: Child) -> Child:
        """Replaces a dead process; its workers are gone with it and are started anew by ``start_workers``."""
        self.kill_workers(child.process)
        self.retired.discard(child.process)
        self.processes[child.process] = self._start_process(child.process)
        return self.processes[child.process]

    def retire(self, index: int) -> None:
        """Ends a process for good, or until ``restart``."""
        self.kill_workers(index)
        child = self.processes[index]
        end([child])
        if child.connection:
            child.connection.close()
        child.connection = None
        self.retired.add(index)

    def kill_workers(self, index: int) -> None:
        end([self.workers.pop(key) for key in list(self.workers) if key[0] == index])

    def forget(self, worker: Child) -> None:
        """Removes a dead worker that is not to be replaced."""
        del self.workers[worker.process, worker.worker or 0]

    def start_workers(self, index: int) -> None:
        for number in range(self.settings.workers):
            self.start_worker(index, number, ())

    def start_worker(self, index: int, number: int, batches: tuple[Batch, ...]) -> None:
        """Starts pool worker ``number`` of a process and gives the process its connection.

        Raises ConnectionError where the process is gone.
        """
        owner = self.processes[index]
        if owner.connection is None:
            raise ConnectionError(f"process {index} is gone")
        mine, theirs = multiprocessing.Pipe()
        beacon = index * self._per_process + 1 + number
        arguments = self._arguments(index, number, beacon)
        handle = self._launch(worker.main, arguments, theirs, beacon)
        # Noted before the process hears of it: where that is gone, the worker must be ended all the same.
        self.workers[index, number] = Child(index, number, handle, beacon)
        with mine:  # closed here, so that the worker sees the end of its pipe when the process dies
            owner.connection.send(Worker(number, batches), mine.fileno())

    def _start_process(self, index: int) -> Child:
        mine, theirs = multiprocessing.Pipe()
        beacon = index * self._per_process
        settings = self.settings
        child = self._arguments(index, None, beacon)
        self._beacons.clear_table(index)
        table = self._beacons.place(index)
        lost_for = self.lost_for.get(index, "")
        arguments = ProcessArguments(child, settings.workers, self._memory, settings.poison, table, lost_for)
        handle = self._launch(process.main, arguments, theirs, beacon)
        return Child(index, None, handle, beacon, Channel(mine))

    def _arguments(self, index: int, number: int | None, beacon: int) -> ChildArguments:
        settings = self.settings
        gpus = settings.gpus[index] if settings.gpus else ()
        own = tuple(f"cuda:{one}" for one in range(len(gpus))) or (settings.devices[index],)
        context = Context(
            settings.devices[index], index, number, settings.scratch, settings.seed, settings.in_flight, own
        )
        memory, threads = settings.memory, settings.threads[index]
        threads = threads if number is None else 1
        return ChildArguments(settings.backend, context, beacon, memory, settings.sample_timeout, threads, gpus)

    def _launch(self, target: Target, arguments: Any, pipe: Connection, beacon: int) -> Forked:
        self._beacons.clear(beacon)  # first, or the rows of its predecessor would be laid to its charge
        with pipe:
            return self.server.start(target, arguments, pipe.fileno(), self._beacons.descriptor)

    # --- watching

    def span(self, child: Child) -> RowRange | None:
        """The rows that the child is at, or was at when it died."""
        return self._beacons.span(child.beacon)

    def in_flight(self, child: Child) -> tuple[int, ...]:
        """The rows of the samples that a process has in flight, or had when it died."""
        return self._beacons.in_flight(child.process) if child.worker is None else ()

    def is_orphaned(self, worker: Child) -> bool:
        """Whether a worker that is dead left because its process has gone."""
        return self._beacons.is_orphaned(worker.beacon)

    def is_cut_off(self, child: Child) -> bool:
        """Whether a child that is dead left because its Job has closed what is not its own."""
        return self._beacons.is_cut_off(child.beacon)

    def wait(self, timeout: float, extra: list[Any]) -> tuple[list[Child], list[Child], list[Any]]:
        """Waits for something to happen: (processes that sent a message, dead children, ready ones of ``extra``).

        Dead processes come before dead workers, which are not replaced by themselves once their process is.
        """
        self._watch(extra)
        ready = []
        for key, events in self._selector.select(timeout):
            if events & selectors.EVENT_WRITE:
                with contextlib.suppress(ConnectionError):  # it died; its sentinel tells
                    key.fileobj.flush()  # type: ignore[union-attr]
            if events & selectors.EVENT_READ:
                ready.append(key.data)
        self.clock.look()
        dead = [child for role, child in ready if role == _DIES]
        return (
            [child for role, child in ready if role == _TALKS],
            sorted(dead, key=lambda child: child.worker is not None),
            [other for role, other in ready if role == _OTHER],
        )

    def _watch(self, extra: list[Any]) -> None:
        """Has the selector watch what there is now; it changes when a child does."""
        watched = [
            *(
                (child.connection, child.connection.events, _TALKS, child)
                for child in self.processes
                if child.connection
            ),
            *((child.handle.sentinel, selectors.EVENT_READ, _DIES, child) for child in self),
            *((other, getattr(other, "events", selectors.EVENT_READ), _OTHER, other) for other in extra),
        ]
        if watched == self._watched:
            return
        self._selector.close()
        self._selector = selectors.DefaultSelector()
        for source, events, role, thing in watched:
            self._selector.register(source, events, (role, thing))
        self._watched = watched

    def holds(self, child: Child) -> bool:
        """False once the child was replaced: with its process, a worker goes too."""
        if child.worker is None:
            return self.processes[child.process] is child and child.process not in self.retired
        return self.workers.get((child.process, child.worker)) is child

    def doing(self, child: Child) -> tuple[object, int]:
        """What a child does, which has changed if it gets on, and how many samples' time it may take for it.

        One with samples in flight ends those that are late itself, as long as it looks at the clock, which it does not
        while it loads.
        """
        if span := self.span(child):
            return span, span[1] - span[0]
        return (self._beacons.ticks(child.process), 1) if self.in_flight(child) else (None, 0)

    def stop(self, grace: float, extra: Sequence[Any]) -> None:
        """Has all children tear down, for ``grace`` seconds, or until one of ``extra`` is readable."""
        for child in self.processes:
            child.tell(Stop())
        began, waited = self.clock.look(), 0.0
        while left := [child for child in self if not child.is_dead]:
            talking, dead, others = self.wait(max(0, min(TICK, grace - waited)), list(extra))
            for child in talking:
                child.receive()  # what it still has to say must not hold it up
            waited = self.clock.now - began
            if waited >= grace or others:
                break
            if dead:
                time.sleep(0.01)  # the sentinel of one that is dead stays ready
        for child in left:
            rows = self.span(child)
            what = f"process(){at(rows)}" if rows else "teardown()"
            print(f"{child.name}: {what} is cut off after {waited:.0f} s", flush=True)

    def close(self) -> None:
        """Kills what is left."""
        end(list(self))
        self._beacons.close()
        self._selector.close()
