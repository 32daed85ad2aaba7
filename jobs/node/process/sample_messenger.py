"""SampleMessenger: the part of a device process that talks, where the Job takes samples one by one.

It does what a Messenger does, in the event loop that the samples run in. It asks for work, since batches do not tell how much a
process has to do of which some samples take long, and stores what is done twice a second, whatever is still in flight.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from jobs.errors import words
from jobs.kinds import FailureKind
from jobs.machine.kernel_kills import KernelKills
from jobs.node.backend import Backend
from jobs.node.border import Border
from jobs.node.messages import Broken, Deal, Done, Halt, Halted, Hungry, Lost, Ready, Stop
from jobs.node.process.finished import Finished
from jobs.node.process.intake import Intake
from jobs.node.process.pool import PieceSource
from jobs.node.process.sample_runner import TICK, SampleOutcome, SampleRunner
from jobs.node.process.switchboard import Switchboard
from jobs.node.worker.loading import broken

# It asks for more when there is room for this share of what it may have.
_ASK = 1 / 6
# Of the seconds in which a process that has to leave is to be through, what samples in flight get to finish.
_FINISH = 0.6


class SampleMessenger:
    """``memory`` is the process's part of the task's, bytes. It stops the ``loop`` when the process is to end, and says why."""

    def __init__(
        self,
        connection: Connection,
        backend: Backend,
        process: int,
        source: PieceSource,
        in_flight: int,
        memory: int,
        border: Border,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._intake = Intake(backend, source, in_flight, memory, loop.time, self._settle)
        self._board = Switchboard(connection, source, self._obey, self._intake.again)
        self._finished = Finished(backend, backend.writer(process, self._board.ask))
        self._backend = backend
        self._source = source
        self._border = border
        self._loop = loop
        self._asked = self._settled = 0
        self._is_taking_due = False
        self._halting: asyncio.TimerHandle | None = None
        self.ended: Stop | Lost | Broken | None = None

    def start(self, runner: SampleRunner) -> None:
        """From now on it listens, in the loop."""
        self._runner = runner
        self._ask()
        self._board.send(Ready())
        self._loop.add_reader(self._board.descriptor, self._turn, self._listen)
        self._tick()

    # --- the loop

    def _turn(self, what: Callable[[], None]) -> None:
        """Does something, and then what follows from it; whatever it raises ends the process."""
        if self.ended is not None:
            return
        self._border.come_back()
        try:
            what()
            self._advance()
        except (EOFError, ConnectionError):
            self._end(Stop())
        except OSError as error:  # of the run directory, mostly: no sample's fault
            self._end(self._backend.broken(error))
        except MemoryError as error:  # for results of samples that are all done: more of it is all that helps
            self._end(broken("storing results", error, KernelKills()))
        except BaseException as error:  # a fault of ours, which the loop would swallow
            sys.excepthook(type(error), error, error.__traceback__)
            os._exit(os.EX_SOFTWARE)
        self._border.cross()

    def _end(self, how: Stop | Lost | Broken) -> None:
        self.ended = how
        self._loop.remove_reader(self._board.descriptor)
        self._loop.stop()

    def _tick(self) -> None:
        if self.ended is None:
            self._loop.call_later(TICK, self._turn, self._tick)
            self._runner.tick()
            self._intake.expect(self._settled / TICK)
            self._settled = 0
            self._store()

    def _listen(self) -> None:
        self._board.listen(0)

    def on_outcome(self) -> None:
        """To be called, in the loop, after the runner has something to collect."""
        self._turn(lambda: None)

    def _advance(self) -> None:
        if self.ended is None:
            self._take()
            for outcome in self._runner.collect():
                self._settle(outcome)
            if self._finished.is_due:
                self._store()
            if self._runner.broken:
                self._lose(Lost(words(self._runner.broken), self._runner.rows_lost, self._runner.lost_for))
            elif self._halting:
                self._halt_if_through()
            else:
                self._ask()
            self._board.await_room()
            if self._board.has_backlog:
                self._loop.call_soon(self._turn, self._listen)

    def _take(self) -> None:
        if not self._halting and self._intake.take(self._runner) and not self._is_taking_due:
            self._is_taking_due = True
            self._loop.call_soon(self._turn, self._take_more)

    def _take_more(self) -> None:
        self._is_taking_due = False  # the turn that this is goes on with it

    def _lose(self, lost: Lost) -> None:
        self._store()
        self._board.send(lost)
        self._end(lost)

    # --- messages

    def _obey(self, message: Any) -> None:
        match message:
            case Deal():
                self._asked = 0
                if self._backend.joins_batches and not message.are_rows:
                    why = (
                        "the plan is of batches, and the Job takes samples one by one (process_sample): plan a new run"
                    )
                    self._end(Broken(FailureKind.ERROR, why))
                else:
                    self._intake.begin(message.batches)
            case Halt():
                self._store()
                self._source.drop()
                self._runner.take_back()
                self._halting = self._loop.call_later(_FINISH * message.seconds, self._runner.cancel)
            case Stop():
                self._end(message)

    def _ask(self) -> None:
        """Asks for more once there is room for some, beyond what it has asked for already."""
        most, unfinished = self._intake.most, len(self._intake)
        room = most - unfinished
        if room - self._asked >= max(1, _ASK * most):
            self._asked = room
            self._board.send(Hungry(unfinished, room))

    def _halt_if_through(self) -> None:
        if self._halting and not self._runner.busy:
            self._halting.cancel()
            self._halting = None
            self._intake.clear()
            self._finished.forget()
            self._store()
            self._board.send(Halted())

    # --- what is done

    def _settle(self, outcome: SampleOutcome) -> None:
        """Keeps what became of a sample, unless Halt has dropped it."""
        batch = self._intake.finish(outcome.row)
        if batch is not None:
            self._settled += 1
            self._finished.add(batch, outcome)

    def _store(self) -> None:
        """Stores and reports what is done."""
        if commits := self._finished.store():
            self._board.send(Done(commits))
