"""ForkServer: forks the children of an array task.

Children are forked, because imports take longer than most other things at their start; and not by the supervisor, which
must run none of the user's code, but by a copy of it that imports what the Job needs and starts no thread (threads do
not survive a fork). multiprocessing's fork server would do, but it is a new interpreter, with a resource tracker and a
socket file: twice the CPU time of a small array task (docs/benchmarks.md).

Each child has a guardian between itself and the server (guardian.py), which ends what the child leaves running.
"""

import contextlib
import errno
import multiprocessing
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any

from jobs.exit_codes import exit_text
from jobs.kinds import FailureKind
from jobs.machine import descendants, lifeline, memory, open_files
from jobs.machine.imports import many_imports
from jobs.machine.kernel_kills import KernelKills
from jobs.node.descriptors import receive_descriptor, send_descriptor
from jobs.node.supervisor.guardian import NUMBER, Target, guard, tell

# A server that dies this often before it has forked anything dies of what it imports.
_TRIES = 3
# Seconds between calls of `attend` while the server imports.
_TICK = 0.5
# SIGKILL ends it at once, unless it imports from a file system that does not answer.
_GONE_SECONDS = 2.0


class ServerDied(Exception):
    """The fork server dies again and again, so of what it imports, or it cannot fork; the text says how."""

    def __init__(self, message: str, kind: FailureKind = FailureKind.CRASH) -> None:
        super().__init__(message)
        self.kind = kind


class Forked:
    """A child of the fork server, as the supervisor sees it; ``sentinel`` becomes readable when it is dead."""

    def __init__(self, pid: int, sentinel: Connection) -> None:
        self.pid = pid
        self.sentinel = sentinel
        self._exit_code: int | None = None
        self._is_gone = False

    @property
    def exitcode(self) -> int | None:
        """As subprocess gives it, minus the signal where one killed it; None while it runs."""
        if self._exit_code is None and self.sentinel.poll():
            number = _read_number(self.sentinel)
            # Else its guardian died without a word, and it with that one.
            self._exit_code = -signal.SIGKILL if number is None else number
        return self._exit_code

    def kill(self) -> None:
        """SIGKILL, if it lives."""
        if self.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def join(self, timeout: float | None = None) -> bool:
        """Waits until it is dead and all that it had started is gone, ``timeout`` seconds at most; whether they are."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._is_gone:
            left = None if deadline is None else max(0, deadline - time.monotonic())
            if not connection.wait([self.sentinel], left):
                return False
            self._is_gone = self._exit_code is not None and _read_number(self.sentinel) is None
            self._exit_code = self.exitcode
        return True


def _read_number(pipe: Connection) -> int | None:
    """The next number that a guardian has written; None where it is gone."""
    data = os.read(pipe.fileno(), NUMBER.size)
    return NUMBER.unpack(data)[0] if len(data) == NUMBER.size else None


class ForkServer:
    """The supervisor's end. ``prepare`` is called in the server before it forks anything.

    While a start waits, which it may for minutes, ``attend`` is called twice a second; what it raises ends the wait. So is
    ``check_imports`` while the server imports, and once they are through: those that take no time were not seen before.
    """

    def __init__(
        self,
        prepare: Callable[[], None],
        attend: Callable[[], None] = lambda: None,
        check_imports: Callable[[bool], None] = lambda are_through: None,
    ) -> None:
        self._prepare = prepare
        self._attend = attend
        self._check_imports = check_imports
        self._is_ready = False
        self._kernel_kills = KernelKills()
        self.pid = 0
        self._connection: Connection
        self._start_server()

    def _start_server(self) -> None:
        self._is_ready = False
        self._connection, theirs = multiprocessing.Pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or the copy prints it once more
        supervisor = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _live(theirs, supervisor, self._prepare)
        theirs.close()  # or the end of the server would not end the pipe

    def start(self, target: Target, arguments: Any, *descriptors: int) -> Forked:
        """Forks a child that calls ``target(arguments, *descriptors)``; raises ServerDied.

        ``target`` and ``arguments`` are pickled. The first start waits for the imports.
        """
        died = ""
        for _ in range(_TRIES):
            if not self.pid:
                self._start_server()
            try:
                return self._start(target, arguments, descriptors)
            except (EOFError, ConnectionError):
                what = "forking children" if self._is_ready else "importing what the Job needs"
                code = self._end()
                if code == -signal.SIGKILL and self._kernel_kills.explain():
                    message = f"{what} took more memory than the task has: the kernel killed the process"
                    raise ServerDied(message, FailureKind.OUT_OF_MEMORY) from None
                died = f"{what} ends the process: {'it hangs in the kernel' if code is None else exit_text(code)}"
        raise ServerDied(died)

    def tick(self) -> None:
        """To be called now and then while nothing is started: see KernelKills."""
        self._kernel_kills.tick()

    def _start(self, target: Target, arguments: Any, descriptors: tuple[int, ...]) -> Forked:
        self._await_imports()
        mine, theirs = multiprocessing.Pipe(duplex=False)
        self._connection.send((target, arguments, len(descriptors)))
        for descriptor in (theirs.fileno(), *descriptors):
            send_descriptor(self._connection, descriptor)
        theirs.close()  # only the guardian has this end from now on, so the sentinel tells of its death too
        while not mine.poll(_TICK):
            self._attend()
        pid = _read_number(mine)
        if pid is None:
            raise EOFError
        if pid < 0:
            kind = FailureKind.OUT_OF_MEMORY if -pid == errno.ENOMEM else FailureKind.CRASH
            raise ServerDied(f"no more processes can be started: {os.strerror(-pid)} (see ulimit -a)", kind)
        return Forked(pid, mine)

    def _await_imports(self) -> None:
        """Until the server is ready to fork. It may take minutes, in which the supervisor is there for all others."""
        while not self._is_ready:
            if self._connection.poll(_TICK):
                self._connection.recv()
                self._is_ready = True
            self._attend()
            self._check_imports(self._is_ready)

    def _end(self) -> int | None:
        """The exit code of the server, which has been killed or ends by itself; None where it hangs in the kernel."""
        self._connection.close()
        pid, self.pid = self.pid, 0  # once it was waited for, its pid may be another's
        deadline = time.monotonic() + _GONE_SECONDS
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.002)
        return os.waitstatus_to_exitcode(ended[1])

    def close(self) -> None:
        """Ends the server; its children die with it."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self._end()


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
        memory.go_first()
        descendants.adopt()
        _close_all_but(requests.fileno())
        open_files.allow_as_before()
        # A collection in a child would write to, so copy, all pages that it shares with the others.
        with many_imports():
            prepare()
        requests.send(None)
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


class _Server:
    def __init__(self, requests: Connection) -> None:
        self._requests = requests
        self._guardians: set[int] = set()
        self._has_orphans = False
        self._wake, wake = os.pipe()
        for descriptor in (self._wake, wake):
            os.set_blocking(descriptor, False)
        self._own = [requests.fileno(), self._wake, wake]
        # What its modules started when they were imported is not left over: threads and programs of theirs are the user's.
        self._kept = frozenset(descendants.children())
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Forks on request and waits for what is dead; raises EOFError when the supervisor goes."""
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
        status, *descriptors = [receive_descriptor(self._requests) for _ in range(1 + count)]
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            tell(status, -(error.errno or errno.EAGAIN))
            pid = -1
        if pid == 0:
            for descriptor in self._own:
                os.close(descriptor)
            guard(server, status, target, arguments, descriptors)
        for descriptor in (status, *descriptors):
            os.close(descriptor)
        if pid > 0:
            self._guardians.add(pid)

    def _reap(self) -> None:
        """Guardians end in order; where one was killed, what was in its charge comes to this process."""
        for pid in list(self._guardians):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._guardians.remove(pid)
                self._has_orphans |= status != 0
        if self._has_orphans:
            self._has_orphans = bool(descendants.kill(spare=self._guardians | self._kept))
