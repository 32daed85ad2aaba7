"""Programs: external programs of one process, one at a time, with an end to what they may take and leave behind.

A program is started by vfork. What it leaves running when it ends becomes a child of this process and is killed; what
is there when this process dies, its guardian kills.
"""

import contextlib
import functools
import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from jobs.machine import descendants
from jobs.machine.running_time import RunningTime

_BLOCK = 1 << 16
_TAIL = 2000
# A pipe holds 1 MiB at most, for users without privileges.
_PIPE_READS = (1 << 20) // _BLOCK
# Seconds between looks whether a program has ended, on kernels without pidfd_open (before 5.3).
_TICK = 0.01
# And between looks at the clock, which stands still with this process.
_CLOCK_TICK = 0.5
# SIGKILL ends what does not hang in the kernel; that is not waited for longer.
_KILLED_SECONDS = 2.0
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@dataclass
class Captured:
    """What came out of a pipe: the first ``limit`` bytes, the last few, and how many there were."""

    limit: int
    head: bytearray = field(default_factory=bytearray)
    tail: bytes = b""
    size: int = 0

    def add(self, data: bytes) -> None:
        self.head += data[: max(0, self.limit - self.size)]
        self.tail = (self.tail + data)[-_TAIL:]
        self.size += len(data)


@dataclass(frozen=True)
class Call:
    """A program to run; ``limit`` is how many bytes of each pipe are kept, ``fail`` whether more are an error."""

    arguments: Sequence[str]
    stdin: bytes
    timeout: float
    limit: int
    fail: bool


@dataclass(frozen=True)
class Finished:
    """How a program ended: its exit code (-n: of signal n), and what was wrong if it had to be killed."""

    code: int
    stdout: Captured
    stderr: Captured
    problem: str | None = None

    @property
    def was_stopped(self) -> bool:
        return self.problem is None and -self.code in _STOPS


class Programs:
    """To be made in the main thread of the process. ``stops`` counts the stop signals that came to it."""

    def __init__(self) -> None:
        self.stops = 0
        descendants.adopt()
        for number in _STOPS:
            self._count(number)

    def _count(self, number: signal.Signals) -> None:
        """Counts a signal before whatever handles it already; one that nobody handles keeps its default."""
        previous: Any = signal.getsignal(number)
        if not callable(previous):
            return

        def handle(number: int, frame: Any) -> None:
            self.stops += 1
            previous(number, frame)

        signal.signal(number, handle)

    def close(self) -> None:
        """No program is run any more."""
        descendants.adopt(False)

    def run(self, call: Call) -> Finished:
        """Runs a program to its end, or ends it; raises OSError where it cannot be started."""
        others = descendants.children()
        process = subprocess.Popen(
            call.arguments,
            stdin=subprocess.PIPE if call.stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            process_group=0,
        )
        pipes = _Pipes(process, call)
        try:
            problem = pipes.run()
        finally:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_KILLED_SECONDS)
            descendants.end(spare=others, ask=False)
            pipes.close()
        code = -signal.SIGKILL if process.returncode is None else process.returncode
        return Finished(code, pipes.stdout, pipes.stderr, problem or pipes.too_much())


class _Pipes:
    """What goes into a program and comes out of it while it runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", call: Call) -> None:
        self._process = process
        self._call = call
        self._selector = selectors.PollSelector()
        self._input = memoryview(call.stdin)
        self.stdout, self.stderr = Captured(call.limit), Captured(call.limit)
        for pipe, into in ((process.stdout, self.stdout), (process.stderr, self.stderr)):
            assert pipe is not None
            self._listen(pipe, selectors.EVENT_READ, functools.partial(self._read, pipe, into))
        if process.stdin:
            self._listen(process.stdin, selectors.EVENT_WRITE, self._write)

    def _listen(self, pipe: IO[bytes], event: int, act: Callable[[], object]) -> None:
        os.set_blocking(pipe.fileno(), False)
        self._selector.register(pipe, event, act)

    def run(self) -> str | None:
        """Returns when the program has ended, or says why it must."""
        clock = RunningTime()
        with _exit_of(self._process) as ended:
            if ended:
                self._selector.register(ended, selectors.EVENT_READ, lambda: None)
            while self._process.poll() is None:
                left = self._call.timeout - clock.look()
                if left <= 0:
                    return f"took longer than timeout ({self._call.timeout:g} s)"
                for key, _ in self._selector.select(min(left, _CLOCK_TICK if ended else _TICK)):
                    key.data()
                if problem := self.too_much():
                    return problem
        return None

    def too_much(self) -> str | None:
        """Which output is larger than it may be."""
        for name, found in (("stdout", self.stdout), ("stderr", self.stderr)):
            if self._call.fail and found.size > found.limit:
                return f"{name} is larger than max_output ({found.limit} bytes)"
        return None

    def _write(self) -> None:
        assert self._process.stdin is not None
        try:
            self._input = self._input[os.write(self._process.stdin.fileno(), self._input[:_BLOCK]) :]
        except BrokenPipeError:  # it has read what it wanted
            self._input = self._input[:0]
        if not self._input:
            self._forget(self._process.stdin)

    def _read(self, pipe: IO[bytes], into: Captured) -> bool:
        """Takes what there is; False where there is no more for now."""
        try:
            data = os.read(pipe.fileno(), _BLOCK)
        except BlockingIOError:
            return False
        into.add(data)
        if not data:
            self._forget(pipe)
        return bool(data)

    def _forget(self, pipe: IO[bytes]) -> None:
        self._selector.unregister(pipe)
        pipe.close()

    def close(self) -> None:
        """Takes what the program had still written, which is no more than pipes hold."""
        for pipe, into in ((self._process.stdout, self.stdout), (self._process.stderr, self.stderr)):
            reads = 0
            while pipe and not pipe.closed and reads < _PIPE_READS and self._read(pipe, into):
                reads += 1
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()


@contextlib.contextmanager
def _exit_of(process: "subprocess.Popen[bytes]") -> Iterator[int | None]:
    """A descriptor that becomes readable when the process ends; None where the kernel has none."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
