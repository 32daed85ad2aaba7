"""ForkServer: forks the children of an array task.

Children are forked, because imports take longer than most other things at their start; and not by the supervisor, which
must run none of the user's code, but by a copy of it that imports what the Job needs and starts no thread (threads do
not survive a fork). multiprocessing's fork server would do, but it is a new interpreter, with a resource tracker and a
socket file: twice the CPU time of a small array task (docs/benchmarks.md).
"""

import contextlib
import multiprocessing
import os
import selectors
import signal
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

from jobs.exit_codes import exit_text
from jobs.machine import lifeline
from jobs.machine.imports import many_imports

_FORK = multiprocessing.get_context("fork")
_EXIT_CODE = struct.Struct("i")
# A server that dies this often before it has forked anything dies of what it imports.
_TRIES = 3

Target = Callable[..., None]


class ServerDied(Exception):
    """The fork server dies again and again, so of what it imports; the text says how."""


class Forked:
    """A child of the fork server, as the supervisor sees it; ``sentinel`` becomes readable when it is dead."""

    def __init__(self, pid: int, sentinel: Connection) -> None:
        self.pid = pid
        self.sentinel = sentinel
        self._exit_code: int | None = None

    @property
    def exitcode(self) -> int | None:
        """As subprocess gives it, minus the signal where one killed it; None while it runs."""
        if self._exit_code is None and self.sentinel.poll():
            try:
                (self._exit_code,) = _EXIT_CODE.unpack(os.read(self.sentinel.fileno(), _EXIT_CODE.size))
            except (struct.error, OSError):
                self._exit_code = -signal.SIGKILL  # the server died without a word, and all its children with it
        return self._exit_code

    def kill(self) -> None:
        """SIGKILL, if it lives."""
        if self.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def join(self, timeout: float | None = None) -> None:
        """Waits for its death, ``timeout`` seconds at most."""
        if self._exit_code is None:
            connection.wait([self.sentinel], timeout)


class ForkServer:
    """The supervisor's end. ``prepare`` is called in the server before it forks anything."""

    def __init__(self, prepare: Callable[[], None]) -> None:
        self._prepare = prepare
        self._pid = 0
        self._connection: Connection
        self._start_server()

    def _start_server(self) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or the copy prints it once more
        supervisor = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _live(theirs, supervisor, self._prepare)
        theirs.close()  # or the end of the server would not end the pipe

    def start(self, target: Target, arguments: Any, *descriptors: int) -> Forked:
        """Forks a child that calls ``target(arguments, *descriptors)``; raises ServerDied.

        ``target`` and ``arguments`` are pickled. The first start waits for the imports.
        """
        died = ""
        for _ in range(_TRIES):
            try:
                return self._start(target, arguments, descriptors)
            except (EOFError, ConnectionError):
                died = self._end()
                self._start_server()
        raise ServerDied(f"importing what the Job needs ends the process: {died}")

    def _start(self, target: Target, arguments: Any, descriptors: tuple[int, ...]) -> Forked:
        mine, theirs = multiprocessing.Pipe(duplex=False)
        self._connection.send((target, arguments, len(descriptors)))
        for descriptor in (theirs.fileno(), *descriptors):
            send_handle(self._connection, descriptor, self._pid)
        theirs.close()  # only the server has this end from now on, so the sentinel tells of its death too
        return Forked(self._connection.recv(), mine)

    def _end(self) -> str:
        self._connection.close()
        return exit_text(os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1]))

    def close(self) -> None:
        """Ends the server; its children die with it."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._end()
        self._pid = 0


# --- in the server


def _live(requests: Connection, supervisor: int, prepare: Callable[[], None]) -> None:
    """The server's life; never returns, so that nothing of the supervisor's is run or collected here."""
    code = os.EX_SOFTWARE
    try:
        # Before all that takes time: a signal must not wake the supervisor by its own socket, which this copy has too, and
        # a supervisor that dies during the imports must not leave a server behind.
        signal.set_wakeup_fd(-1)
        lifeline.bind(supervisor)
        lifeline.ignore_signals()
        _close_all_but(requests.fileno())
        # A collection in a child would write to, so copy, all pages that it shares with the others.
        with many_imports():
            prepare()
        _Server(requests).serve()
    except (EOFError, ConnectionError):
        code = os.EX_OK  # the supervisor is done
    except BaseException as error:  # whatever the user's modules raise when they are imported ends here
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _close_all_but(kept: int) -> None:
    """The supervisor's files and locks are not ours: a lock lasts as long as any copy of its descriptor."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


@dataclass(frozen=True)
class _Call:
    """What a forked child runs, once it is bound to the server's life and has closed what belongs to the server."""

    target: Target
    arguments: Any
    descriptors: list[int]
    foreign: list[int]
    server: int

    def __call__(self) -> None:
        lifeline.bind(self.server)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in self.foreign:  # with a copy of another child's status here, its death would not be seen
            os.close(descriptor)
        self.target(self.arguments, *self.descriptors)


class _Server:
    def __init__(self, requests: Connection) -> None:
        self._requests = requests
        self._children: dict[int, tuple[BaseProcess, int]] = {}
        self._wake, wake = os.pipe()
        for descriptor in (self._wake, wake):
            os.set_blocking(descriptor, False)
        self._own = [requests.fileno(), self._wake, wake]
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Forks on request and tells of deaths; raises EOFError when the supervisor goes."""
        with selectors.DefaultSelector() as selector:
            self._own.append(selector.fileno())
            for descriptor in (self._requests.fileno(), self._wake):
                selector.register(descriptor, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if self._wake in ready:
                    os.read(self._wake, 4096)
                    self._reap()
                if self._requests.fileno() in ready:
                    self._fork()

    def _fork(self) -> None:
        target, arguments, count = self._requests.recv()
        status, *descriptors = [recv_handle(self._requests) for _ in range(1 + count)]
        foreign = [*self._own, status, *(status for _, status in self._children.values())]
        child = _FORK.Process(target=_Call(target, arguments, descriptors, foreign, os.getpid()))
        child.start()
        for descriptor in descriptors:
            os.close(descriptor)
        assert child.pid
        # It may be dead by now: that is noticed in `serve` alone, after this, by the byte that SIGCHLD has left.
        self._children[child.pid] = child, status
        self._requests.send(child.pid)

    def _reap(self) -> None:
        for pid, (child, status) in list(self._children.items()):
            if child.exitcode is not None:
                del self._children[pid]
                with contextlib.suppress(BrokenPipeError):
                    os.write(status, _EXIT_CODE.pack(child.exitcode))
                os.close(status)
