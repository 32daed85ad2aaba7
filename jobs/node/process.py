"""Process: the entry point of a device process, which runs the Job on batches and writes rows into the shard file.

It takes batches from the supervisor, has them loaded by its pool (or loads them itself), processes them one after
another, and reports each as a Commit once its bytes are in the file.
"""

import selectors
import sys
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any, NoReturn

from jobs.errors import OutputError
from jobs.job import Job, make_job
from jobs.node import disk, lifeline
from jobs.node.batches import BatchWork
from jobs.node.beacon import Beacon
from jobs.node.loading import Loader, broken, failed_sample, print_traceback, seed_generators
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
from jobs.node.worker import ChildArguments, report_broken
from jobs.storage.outputs import Columns, check_form, to_columns
from jobs.storage.records import Commit, FailedSample, Segment, Shard
from jobs.storage.rundir import RunDir
from jobs.storage.samples import Samples
from jobs.storage.shard_file import ShardFile


@dataclass(frozen=True)
class ProcessArguments:
    """What a device process is started with, beside what every child gets."""

    child: ChildArguments
    run: RunDir
    workers: int


class _Leave(Exception):
    """Ends the process in order: the supervisor said so, or is gone."""


def main(arguments: ProcessArguments, connection: Connection) -> None:
    """Runs until the supervisor says Stop or goes away."""
    lifeline.bind()
    lifeline.ignore_signals()
    set_threads(arguments.child.threads)
    try:
        job = make_job(arguments.child.job)
        if not arguments.workers:
            job.setup_worker(arguments.child.context)
        _use_device(arguments.child.context.device)
        job.setup(arguments.child.context)
    except (Exception, SystemExit) as error:  # whatever the Job raises ends the attempt with its message
        sys.excepthook(type(error), error, error.__traceback__)
        report_broken(connection, broken("setup", error))
        return
    process = _Process(arguments, connection, job)
    try:
        process.run()
    except (_Leave, EOFError, ConnectionError):
        process.leave()
    except OSError as error:  # of the run directory, mostly: no sample's fault
        kind = "DISK" if disk.is_failing(error) else "ERROR"
        report_broken(connection, Broken(kind, disk.describe(error, arguments.run.path)))


def set_threads(count: int) -> None:
    """Sets the compute threads of this process; the environment says 1, so that the fork server has none."""
    if count > 1:
        import threadpoolctl

        threadpoolctl.threadpool_limits(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def _use_device(device: str) -> None:
    if device.startswith("cuda") and "torch" in sys.modules:
        sys.modules["torch"].cuda.set_device(device)


class _Process:
    """The event loop: messages of the supervisor and the workers, and between them one piece at a time."""

    def __init__(self, arguments: ProcessArguments, connection: Connection, job: Job) -> None:
        self._run = arguments.run
        self._connection = connection
        self._job = job
        self._seed = arguments.child.context.seed
        self._beacon = Beacon(arguments.child.beacons.words, arguments.child.beacon)
        self._pool = Pool(self._broken) if arguments.workers else None
        loader = Loader(job, Samples(arguments.child.manifest), self._beacon, self._seed)
        self._source = self._pool or Inline(loader)
        self._works: dict[int, BatchWork] = {}
        self._backlog: deque[Any] = deque()
        self._shard = Shard(0, 0, 0)
        self._file: ShardFile | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ, None)

    def run(self) -> NoReturn:
        """Never returns; raises _Leave, EOFError or ConnectionError to end in order."""
        self._connection.send(Ready())
        while True:
            taken = self._source.take()
            self._listen(None if taken is None else 0)
            if taken is not None:
                self._handle(*taken)

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
                    self._source.submit(work.pieces())
            case OpenShard():
                self._shard = message.shard
                self._open(message)
            case Worker():
                self._new_worker(message)
            case Halt():
                self._source.drop()
                self._works.clear()
                self._connection.send(Halted())
            case Stop():
                raise _Leave

    def _open(self, message: OpenShard | Placed) -> None:
        if self._file:
            self._file.close()
        layout = message.layout
        self._file = ShardFile.open(self._run, self._shard, layout, write=True) if layout else None

    def _new_worker(self, message: Worker) -> None:
        assert self._pool is not None
        connection = Connection(recv_handle(self._connection))
        lost = self._pool.replace(message.index, connection)
        self._selector.register(connection, selectors.EVENT_READ, message.index)
        known = {batch.start: batch for batch in message.batches}
        for piece in lost:
            work = self._works.get(piece.batch)
            if work:
                batch = known.get(piece.batch, work.batch)
                self._pool.submit(work.again(piece, batch), first=True)
        self._pool.submit([])

    # --- one piece

    def _handle(self, loaded: Loaded, batch: Any) -> None:
        """Processes a loaded piece; a batch whose last piece this was is written."""
        work = self._works.get(loaded.piece.batch)
        if work is None:  # dropped by Halt
            self._source.release(loaded)
            return
        started = time.monotonic()
        self._source.submit(self._process(work, loaded, batch))
        work.seconds += time.monotonic() - started
        if work.open == 0:
            self._commit(work)
        # Last of all: outputs may be views of the slot.
        self._source.release(loaded)

    def _process(self, work: BatchWork, loaded: Loaded, batch: Any) -> list[Piece]:
        """Runs the Job on a piece; returns the pieces to try instead where it failed."""
        if loaded.error is None and loaded.rows:
            seed_generators(self._seed, loaded.piece.start)
            self._beacon.at(loaded.piece.start, loaded.piece.stop)
            try:
                columns = to_columns(self._job.process(batch), len(loaded.rows))
                self._check(columns, work)
                work.add(loaded.piece, loaded.rows, columns)
            except (Exception, SystemExit) as error:
                if len(loaded.rows) == 1:
                    print_traceback(loaded.rows[0], "PROCESS", error)
                return self._divide(work, loaded, failed_sample(loaded.rows[0], "PROCESS", error))
            finally:
                self._beacon.idle()
        elif loaded.error is not None:
            return self._divide(work, loaded, loaded.error)
        work.close(loaded.failed)
        return []

    def _check(self, columns: Columns, work: BatchWork) -> None:
        """Raises OutputError where outputs differ from the shard's layout or, before it is known, from the batch's."""
        outputs = self._file.layout.outputs if self._file else work.forms()
        if outputs:
            check_form(columns, outputs)

    def _divide(self, work: BatchWork, loaded: Loaded, failure: FailedSample) -> list[Piece]:
        """Halves of a piece that failed as a whole; a single sample has failed for good."""
        work.split = True
        if len(loaded.rows) == 1:
            work.close((*loaded.failed, failure))
            return []
        work.close(loaded.failed)
        return work.halves(loaded)

    # --- one batch

    def _commit(self, work: BatchWork) -> None:
        """Writes the batch and reports it."""
        start, stop = work.batch.start, work.batch.stop
        columns = work.columns()
        try:
            hashes, segments = self._write(work, columns) if columns else ({}, {})
        except OutputError:
            # Another process found another layout first; now that it is known, the samples are checked one by one.
            self._obey(Deal((Batch(start, stop, split=True, failed=tuple(work.failed.values())),)))
            return
        del self._works[start]
        failed = tuple(sorted(work.failed.values(), key=lambda sample: sample.row))
        commit = Commit(start, stop, hashes, segments, failed, work.split or bool(failed), work.seconds)
        self._connection.send(Done(commit))

    def _write(self, work: BatchWork, columns: Columns) -> tuple[dict[str, str], dict[str, Segment]]:
        sizes = {name: column.data.nbytes for name, column in columns.items() if column.lengths is not None}
        ends = self._place(columns, sizes) if self._file is None or sizes else {}
        assert self._file is not None
        self._check(columns, work)
        return self._file.write(work.batch.start, columns, ends)

    def _place(self, columns: Columns, sizes: dict[str, int]) -> dict[str, int]:
        """Asks the supervisor where to write; what else it says meanwhile waits in the backlog."""
        self._connection.send(Place(tuple(column.form(name) for name, column in columns.items()), sizes))
        while not isinstance(message := self._connection.recv(), Placed):
            if isinstance(message, Worker):  # a descriptor follows it in the pipe
                self._new_worker(message)
            else:
                self._backlog.append(message)
        if self._file is None:
            self._open(message)
        return dict(message.ends)
