"""Supervisor: the process of a Hierarchy that starts, watches and replaces its children, with the crew of an array task.

It is an interpreter of its own, so that children are not forked from the caller, who may have threads, CUDA, and a
notebook. It runs none of the user's code, takes batches from the caller, and leaves when the caller is gone.
"""

import contextlib
import os
import select
import shutil
import sys
from collections.abc import Collection, Sequence
from multiprocessing.connection import Connection

import jobs.library
from jobs.library.caller_backend import CallerBackend
from jobs.library.caller_messages import Close, Drop, Dropped, Setup
from jobs.machine import descendants, lifeline, open_files
from jobs.machine.scratch import make_scratch
from jobs.node.channel import Channel
from jobs.node.messages import Allocate, Allocated, Batch, Broken
from jobs.node.supervisor.alone import recover
from jobs.node.supervisor.children import TICK, CrewSettings
from jobs.node.supervisor.commit_log import AttemptFailed
from jobs.node.supervisor.crew import Crew
from jobs.node.supervisor.deaths import MemoryShort
from jobs.node.supervisor.fork_server import ForkServer, ServerDied
from jobs.node.supervisor.meter import Meter
from jobs.node.supervisor.preload import import_module
from jobs.storage.records import Commit
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings


class _Leave(Exception):
    """The caller closed the Hierarchy; children get ``grace`` seconds to tear down."""

    def __init__(self, grace: float) -> None:
        super().__init__()
        self.grace = grace


class Supervisor:
    """Started with the caller's connection, the descriptor of the exchange, and the caller's first message."""

    def __init__(self, caller: Connection, exchange: int, setup: Setup) -> None:
        lifeline.ignore_signals()
        jobs.library.inside = True
        self._caller = Channel(caller)  # who may pause for as long as it likes
        self._setup = setup
        descendants.adopt()
        open_files.allow_many()
        self._meter = Meter(1, setup.memory, ())
        self._server = ForkServer(lambda: _preload(setup.modules), self._attend, self._meter.check_imports)
        self._scratch = make_scratch()
        self._crew: Crew | None = None
        self._waiting: list[Batch] = []
        self._most = 0
        self._dropping: Drop | None = None
        backend = CallerBackend(os.getpid(), exchange, setup.slots, setup.job_size)
        self._settings = CrewSettings(
            backend=backend,
            devices=setup.devices,
            workers=setup.workers,
            threads=setup.threads,
            memory=setup.memory,
            scratch=self._scratch,
            seed=setup.seed,
            sample_timeout=setup.sample_timeout,
            in_flight=setup.in_flight,
        )

    def run(self) -> None:
        """Until the caller closes, or is gone, or nothing can go on, which the caller hears."""
        grace = 0.0
        try:
            # What a crew prints is for the log of a task; a caller learns what became of the samples.
            with contextlib.redirect_stdout(None), contextlib.suppress(EOFError, ConnectionError):
                self._begin([])
                while True:
                    self._serve()
        except _Leave as leave:
            grace = leave.grace
        except (AttemptFailed, ServerDied) as failure:
            with contextlib.suppress(ConnectionError):
                self._caller.send(Broken(failure.kind, str(failure)))
        finally:
            with contextlib.redirect_stdout(sys.stderr):  # what has to be cut off is told
                self._end(grace)
        if not grace:
            self._say_the_rest()

    def _say_the_rest(self) -> None:
        """A caller that pauses hears all, when it goes on, up to why nothing can."""
        with contextlib.suppress(ConnectionError):
            while self._caller.is_crowded and os.getppid() == self._setup.caller:
                select.select([], [self._caller], [], TICK)
                self._caller.flush()

    def _end(self, grace: float) -> None:
        if self._crew:
            self._crew.close(grace)
        self._server.close()
        descendants.end(ask=False)  # of guardians that somebody killed
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _new_crew(self, settings: CrewSettings) -> Crew:
        node = NodeSettings(workers=settings.workers, sample_timeout=self._setup.sample_timeout)
        return Crew(settings, self._server, node, self._meter)

    def _begin(self, batches: list[Batch]) -> None:
        self._crew = self._new_crew(self._settings)
        self._crew.begin(_CallerLog(self._caller), batches)

    def _serve(self) -> None:
        """Goes on until memory runs out, and again."""
        assert self._crew
        try:
            while True:
                self._step(self._crew)
                if self._dropping:
                    drop, self._dropping = self._dropping, None
                    self._crew.drop()
                    kept = frozenset(batch.start for batch in self._crew.unfinished())
                    self._caller.send(Dropped(drop.row, kept))
                if self._waiting:
                    batches, self._waiting = self._waiting, []
                    self._crew.extend(batches)
        except MemoryShort as short:
            # What ends this meanwhile, as a caller that is gone, must not close the crew once more: `recover` does.
            crew, self._crew = self._crew, None
            log = _CallerLog(self._caller)
            rest, fits = recover(crew, short, log, self._new_crew, self._step)
            self._most = _smaller(self._most, fits)
            if log.has_failed and short.together:
                self._most = 0  # one sample was too large, and without it as many may fit as before
            elif not log.has_failed and short.together <= 1:  # no sample was too large: they were together
                self._settings = self._settings.fewer()
            self._begin(list(map(self._limited, rest)))

    def _limited(self, batch: Batch) -> Batch:
        """In pieces that fit into memory; the caller may want smaller ones."""
        return batch._replace(most=_smaller(batch.most, self._most))

    def _step(self, crew: Crew) -> None:
        crew.step([self._caller])
        self._attend()

    def _attend(self) -> None:
        """Hears the caller, also while the fork server imports; raises what ends this process."""
        if os.getppid() != self._setup.caller:
            raise EOFError
        while self._caller.poll():
            match message := self._caller.recv():
                case Batch():
                    self._waiting.append(self._limited(message))
                case Drop():
                    self._waiting.clear()
                    self._dropping = message
                case Close():
                    raise _Leave(message.grace)


def _smaller(one: int, other: int) -> int:
    """The smaller of two sizes of pieces, where 0 is any size."""
    return min(one or other, other or one)


class _CallerLog:
    """The CommitLog of a Hierarchy: the writer has put them into the exchange, the caller hears of each."""

    def __init__(self, caller: Channel) -> None:
        self.has_failed = False
        self._caller = caller

    def allocate(self, request: Allocate) -> Allocated:
        raise NotImplementedError(f"results of a Hierarchy have no place in a file: {request}")

    def commit(self, commits: Sequence[Commit]) -> None:
        for commit in commits:
            self.has_failed |= commit.split  # the samples themselves are in the exchange
            self._caller.send(commit)

    def check(self, open_failures: Collection[int]) -> Spans:
        """Any number of samples may fail."""
        return Spans()

    def give_up_for_memory(self, rows: Collection[int]) -> Spans:
        return Spans()


def _preload(modules: tuple[str, ...]) -> None:
    sys.stdout = sys.__stdout__  # the supervisor's may be silenced
    for name in ("jobs.node.process.process", *modules):
        import_module(name)
