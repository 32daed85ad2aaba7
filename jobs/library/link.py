"""Link: the caller's end of a Hierarchy: starts its supervisor, hands it batches in slots, and ends it.

It starts no thread. The supervisor leaves when its connection or the caller ends, however that happens, and takes all
children with it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from jobs.errors import RunError
from jobs.exit_codes import exit_text
from jobs.library.answers import Answer
from jobs.library.caller_messages import Close, Drop, Dropped, Setup
from jobs.library.exchange import Exchange
from jobs.machine import streams
from jobs.node.messages import Batch, Broken
from jobs.pickles import Packed
from jobs.storage.records import Commit

# Seconds that children get to tear down; what is still under way is not worth waiting for.
_GRACE, _BUSY_GRACE = 30.0, 0.2
# Seconds beyond that until the supervisor is killed: it takes less to kill whatever is left.
_PATIENCE = 12.0
# Bytes under way, samples and results, from which on there are no more batches than keep everyone busy.
_MUCH = 1 << 28


@dataclass(frozen=True, slots=True)
class Handed:
    """A batch under way: rows ``[start, stop)``, its slot, the bytes of its samples."""

    start: int
    stop: int
    slot: int
    size: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


class Link:
    """A running supervisor. ``setup`` is complete but for the caller and the job's size."""

    def __init__(self, setup: Setup, job: Packed) -> None:
        self.processes = len(setup.devices)
        self._least = self.processes * (1 + setup.workers) + 1
        streams.fill()  # a caller may have closed them; what is opened now must not be the supervisor's stdin
        self._exchange = Exchange.create(setup.slots)
        self._free = list(range(setup.slots))
        self._under_way: dict[int, Handed] = {}
        self._unwanted: set[int] = set()
        self._result_bytes = 0.0
        self._settled = True
        self.row = 0
        """The row of the next sample; rows count the samples of all passes."""
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._problem = ""
        self._connection, theirs = Pipe()
        with theirs:
            self._popen = _start(theirs.fileno(), self._exchange.descriptor)
        with contextlib.suppress(ConnectionError):  # receive tells what became of it
            self._connection.send([os.path.abspath(path) for path in sys.path])
            self._connection.send(setup._replace(caller=self._pid, job_size=self._exchange.put_job(job)))

    def check(self) -> None:
        """Raises RunError where nothing can be done with this link any more."""
        if self._is_forked:
            raise RunError(f"this Hierarchy belongs to process {self._pid}, which was forked; make one in this process")
        if self._problem:
            raise RunError(self._problem)

    @property
    def _is_forked(self) -> bool:
        """Whether this is a copy in a process that the caller forked: the supervisor is that one's, and hears it alone."""
        return self._pid != os.getpid()

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """For one pass over samples at a time; raises RunError where another is not through, or in another thread."""
        self.check()
        claimed = False
        try:
            claimed = self._lock.acquire(blocking=False)
            if not claimed:
                raise RunError("this Hierarchy is busy: exhaust or close() what imap returned, or make another one")
            self._settle()
            yield
            for slot in self._free:  # nobody knows when the next pass will be, nor how large its batches are
                self._exchange.free(slot)
        finally:
            if claimed:
                self._drop()
                self._lock.release()

    def _settle(self) -> None:
        """Finds out what is still under way of earlier passes, however they ended: an interrupt may come anywhere."""
        self._settled = not self._under_way
        self._drop()
        while not self._settled:
            self.receive(wait=True)
        taken = {handed.slot for handed in self._under_way.values()}
        self._free = [slot for slot in range(self._exchange.slots) if slot not in taken]

    # --- batches

    @property
    def room(self) -> bool:
        """Whether another batch may be handed out."""
        much = sum(handed.size + handed.rows * self._result_bytes for handed in self._under_way.values()) > _MUCH
        return bool(self._free) and (not much or len(self._under_way) < self._least)

    def hand_out(self, samples: Packed, count: int) -> Handed:
        """Sends ``count`` samples to the workers; only where there is room."""
        self.check()
        slot = self._free.pop()
        start, stop = self.row, self.row + count
        handed = Handed(start, stop, slot, self._exchange.feed(slot, start, count, samples))
        # Noted before it is sent: an interrupt that comes in between must find the slot taken, and the rows used up.
        self._under_way[start] = handed
        self.row = stop
        with contextlib.suppress(ConnectionError):  # receive tells what became of it
            self._connection.send(Batch(start, stop))
        return handed

    def unread(self, handed: Handed) -> bool:
        """Whether samples of a batch that is done could not be unpickled."""
        return self._exchange.unread(handed.slot)

    def hand_again(self, handed: Handed, samples: Packed | None) -> None:
        """Has a batch done once more, sample by sample; ``samples`` (None: as they were) has each of them Packed."""
        if samples:
            self._exchange.feed(handed.slot, handed.start, handed.rows, samples, apart=True)
        with contextlib.suppress(ConnectionError):  # receive tells what became of it
            self._connection.send(Batch(handed.start, handed.stop, most=0 if samples else 1))

    def receive(self, wait: bool) -> Handed | None:
        """The next batch that is done; None for other news, or without ``wait`` for none.

        Raises RunError where it cannot go on.
        """
        self.check()
        if not self._connection.poll(None if wait else 0):
            return None
        match self._message():
            case Commit(start):
                handed = self._under_way[start]
                if handed.start not in self._unwanted:
                    return handed
                self._release(handed.start)
            case Dropped(row, left):
                for start in [start for start in self._under_way if start < row and start not in left]:
                    self._release(start)
                self._settled = row == self.row
            case Broken(kind, message):
                raise self._fail(f"the Hierarchy cannot go on ({kind}): {message}")
        return None

    def _message(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, ConnectionError):
            how = exit_text(self._popen.wait())
            raise self._fail(f"the supervisor of the Hierarchy ended by itself: {how}") from None
        except BaseException:
            self._problem = "this Hierarchy was interrupted in the middle of a message; make another"
            raise

    def _fail(self, problem: str) -> RunError:
        self._problem = problem
        return RunError(problem)

    def look(self, handed: Handed) -> tuple[Answer, float, int]:
        """What became of a batch that is done, the seconds it took, the bytes of its results."""
        answer, size = self._exchange.results(handed.slot)
        self._result_bytes = size / handed.rows
        return answer, self._exchange.seconds(handed.slot), size

    def take(self, handed: Handed) -> None:
        """The batch is through, and its slot is free."""
        self._release(handed.start)

    def _release(self, start: int) -> None:
        handed = self._under_way.pop(start)
        self._unwanted.discard(start)
        self._exchange.release(handed.slot)
        self._free.append(handed.slot)

    def _drop(self) -> None:
        """What is under way is not wanted any more, done or not."""
        if self._under_way and not self._problem and not self._is_forked:
            self._unwanted = set(self._under_way)
            with contextlib.suppress(ConnectionError):
                self._connection.send(Drop(self.row))

    # --- the end

    def end(self) -> None:
        """Ends the supervisor and all children, and returns when they are gone; may be called again."""
        if self._connection.closed:
            return
        # Then the supervisor is another's, and only this copy of the descriptors goes.
        forked = self._is_forked
        grace = _BUSY_GRACE if self._under_way or self._problem else _GRACE
        self._problem = "this Hierarchy is closed"
        try:
            if not forked:
                self._say_goodbye(grace)
        finally:
            self._connection.close()
            self._exchange.close()
            if not forked and self._popen.poll() is None:
                self._popen.kill()
                self._popen.wait()

    def _say_goodbye(self, grace: float) -> None:
        deadline = time.monotonic() + grace + _PATIENCE
        with contextlib.suppress(EOFError, OSError, subprocess.TimeoutExpired):
            self._connection.send(Close(grace))
            while self._connection.poll(max(0, deadline - time.monotonic())):
                self._connection.recv_bytes()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(max(0.1, deadline - time.monotonic()))


def _start(caller: int, exchange: int) -> "subprocess.Popen[bytes]":
    """Starts the supervisor; a Ctrl-C, which goes to it too, is blocked until it can ignore that."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("__main__.py")), str(caller), str(exchange)]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(command, pass_fds=(caller, exchange), stdin=subprocess.DEVNULL)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
