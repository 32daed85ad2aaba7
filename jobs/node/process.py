"""Process: the entry point of a device process, which runs the Job on batches and stores what it returns.

It takes batches from the supervisor, has them loaded by its pool (or loads them itself), processes them one after
another, and reports each as a Commit once its port has stored it.
"""

import os
import selectors
import sys
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any, NoReturn

from jobs.errors import OutputError
from jobs.job import Job
from jobs.node import heap, threads
from jobs.node.batches import BatchWork, PieceLimit
from jobs.node.beacon import Beacon
from jobs.node.generators import seed_generators
from jobs.node.loading import Loader, broken, failed_sample, is_device_lost
from jobs.node.messages import (
    Batch,
    Broken,
    Deal,
    Done,
    Halt,
    Halted,
    Loaded,
    OpenShard,
    Piece,
    Place,
    Placed,
    Ready,
    Stop,
    Worker,
)
from jobs.node.pool import Inline, Pool
from jobs.node.transfer import Arriving, transfer_to
from jobs.node.worker import ChildArguments, report_broken
from jobs.storage.records import FailedSample


@dataclass(frozen=True)
class ProcessArguments:
    """What a device process is started with, beside what every child gets; ``memory`` is its part of the task's, bytes."""

    child: ChildArguments
    workers: int
    memory: int


class _Leave(Exception):
    """Ends the process in order: the supervisor said so, or is gone."""


def main(arguments: ProcessArguments, pipe: int, beacons: int) -> None:
    """Runs until the supervisor says Stop or goes away; ``pipe`` (to it) and ``beacons`` are descriptors."""
    connection = Connection(pipe)
    heap.keep_freed()
    threads.use(arguments.child.threads)
    try:
        job = arguments.child.port.job()
        if not arguments.workers:
            job.setup_worker(arguments.child.context)
        _use_device(arguments.child.context.device)
        job.setup(arguments.child.context)
    except (Exception, SystemExit) as error:  # whatever the Job raises ends the attempt with its message
        sys.excepthook(type(error), error, error.__traceback__)
        report_broken(connection, broken("setup", error))
        return
    process = _Process(arguments, connection, Beacon(beacons, arguments.child.beacon), job)
    try:
        process.run()
    except (_Leave, EOFError, ConnectionError):
        process.leave()
    except OSError as error:  # of the run directory, mostly: no sample's fault
        report_broken(connection, arguments.child.port.broken(error))


def _use_device(device: str) -> None:
    if device.startswith("cuda") and "torch" in sys.modules:
        sys.modules["torch"].cuda.set_device(device)


def _die_of(error: BaseException) -> NoReturn:
    """Ends this process, and nothing else can help it; the beacon stays at the rows, for the supervisor to see."""
    sys.excepthook(type(error), error, error.__traceback__)
    sys.stderr.flush()
    os._exit(os.EX_IOERR)


class _Process:
    """The event loop: messages of the supervisor and the workers, and between them one piece at a time."""

    def __init__(self, arguments: ProcessArguments, connection: Connection, beacon: Beacon, job: Job) -> None:
        self._port = arguments.child.port
        self._outlet = self._port.outlet(self._ask)
        self._connection = connection
        self._job = job
        self._seed = arguments.child.context.seed
        self._beacon = beacon
        self._transfer = transfer_to(arguments.child.context.device)
        self._pool = Pool(self._broken, self._transfer, arguments.memory) if arguments.workers else None
        self._source = self._pool or Inline(Loader(job, self._port, self._beacon, self._seed))
        self._works: dict[int, BatchWork] = {}
        self._arriving: deque[tuple[Loaded, Arriving]] = deque()
        self._limit = PieceLimit()
        self._backlog: deque[Any] = deque()
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ, None)

    def run(self) -> NoReturn:
        """Never returns; raises _Leave, EOFError or ConnectionError to end in order."""
        self._connection.send(Ready())
        while True:
            self._take()
            self._listen(0 if self._arriving else None)
            self._take()
            if self._arriving:
                self._handle(*self._arriving.popleft())

    def _take(self) -> None:
        """Sends loaded pieces on their way to the device."""
        ahead = self._transfer.ahead if self._pool else 1
        while len(self._arriving) < ahead:
            started = time.monotonic()
            taken = self._source.take()
            if taken is None:
                return
            loaded, batch = taken
            if not self._pool and loaded.piece.batch in self._works:  # it has just loaded the piece itself
                self._works[loaded.piece.batch].seconds += time.monotonic() - started
            self._arriving.append((loaded, self._transfer.start(batch)))

    def leave(self) -> None:
        """Tears the Job down; the workers follow as their pipes close."""
        if self._pool:
            self._pool.stop()
        self._job.teardown()

    def _broken(self, broken: Broken) -> None:
        self._connection.send(broken)

    # --- messages

    def _listen(self, timeout: float | None) -> None:
        while self._backlog:
            self._obey(self._backlog.popleft())
            timeout = 0
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                self._obey(self._connection.recv())
            elif self._pool and not self._pool.receive(key.data):
                self._selector.unregister(key.fileobj)

    def _obey(self, message: Any) -> None:
        match message:
            case Deal():
                for batch in message.batches:
                    work = self._works[batch.start] = BatchWork.begin(batch)
                    self._source.submit(work.pieces(self._limit.samples))
            case OpenShard():
                self._outlet.open(message)
            case Worker():
                self._new_worker(message)
            case Halt():
                self._source.drop()
                self._works.clear()
                self._connection.send(Halted())
            case Stop():
                raise _Leave

    def _new_worker(self, message: Worker) -> None:
        assert self._pool is not None
        connection = Connection(recv_handle(self._connection))
        lost = self._pool.replace(message.number, connection)
        self._selector.register(connection, selectors.EVENT_READ, message.number)
        known = {batch.start: batch for batch in message.batches}
        for piece in lost:
            work = self._works.get(piece.batch)
            if work:
                batch = known.get(piece.batch, work.batch)
                self._pool.submit(work.again(piece, batch), first=True)
        self._pool.submit([])

    # --- one piece

    def _handle(self, loaded: Loaded, arriving: Arriving) -> None:
        """Processes a loaded piece; a batch whose last piece this was is written."""
        work = self._works.get(loaded.piece.batch)
        if work is None:  # dropped by Halt
            self._source.release(loaded)
            return
        started = time.monotonic()
        self._source.submit(self._process(work, loaded, arriving))
        work.seconds += time.monotonic() - started
        if work.open == 0:
            self._commit(work)
        # Last of all: outputs may be views of the slot.
        self._source.release(loaded)

    def _process(self, work: BatchWork, loaded: Loaded, arriving: Arriving) -> list[Piece]:
        """Runs the Job on a piece; returns the pieces to try instead where it failed."""
        if loaded.error is None and loaded.rows:
            seed_generators(self._seed, loaded.piece.start)
            self._beacon.at(loaded.piece.start, loaded.piece.stop)
            try:
                self._outlet.keep(self._job.process(arriving()), loaded, work)
                self._limit.passed(len(loaded.rows))
            except (Exception, SystemExit) as error:
                if is_device_lost(error):
                    _die_of(error)
                note = self._port.failed if len(loaded.rows) == 1 else failed_sample
                return self._divide(work, loaded, note(loaded.rows[0], "PROCESS", error))
            finally:
                self._beacon.idle()
        elif loaded.error is not None:
            return self._divide(work, loaded, loaded.error)
        work.close(loaded.failed)
        return []

    def _divide(self, work: BatchWork, loaded: Loaded, failure: FailedSample) -> list[Piece]:
        """Halves of a piece that failed as a whole; a single sample has failed for good."""
        work.split = True
        if len(loaded.rows) == 1:
            work.close((*loaded.failed, failure))
            return []
        if failure.kind == "OUT_OF_MEMORY":
            self._make_smaller(len(loaded.rows))
        work.close(loaded.failed)
        return work.halves(loaded)

    def _make_smaller(self, rows: int) -> None:
        """Memory did not do for so many samples at a time: what comes next gets fewer."""
        self._limit.shrink(rows)
        if "torch" in sys.modules:
            sys.modules["torch"].cuda.empty_cache()
        print(f"out of memory with {rows} samples: going on with {self._limit.samples} at a time", flush=True)

    # --- one batch

    def _commit(self, work: BatchWork) -> None:
        """Stores the batch and reports it."""
        start, stop = work.batch.start, work.batch.stop
        try:
            commit = self._outlet.store(work)
        except OutputError:
            # Another process found another layout first; now that it is known, the samples are checked one by one.
            self._obey(Deal((Batch(start, stop, most=1, failed=tuple(work.failed.values())),)))
            return
        del self._works[start]
        self._connection.send(Done(commit))

    def _ask(self, request: Place) -> Placed:
        """Asks the supervisor where to write; what else it says meanwhile waits in the backlog."""
        self._connection.send(request)
        while not isinstance(message := self._connection.recv(), Placed):
            if isinstance(message, Worker):  # a descriptor follows it in the pipe
                self._new_worker(message)
            else:
                self._backlog.append(message)
        return message
