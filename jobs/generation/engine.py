"""Engine: an inference server that a process has started, as a program of its own: in its own environment, on its own GPUs.

A crash of it is a closed socket, and not the end of the process. It is ended with the process, however that ends, by a
warden.
"""

import asyncio
import codecs
import contextlib
import os
import secrets
import shutil
import signal
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from jobs.errors import InputError, ProcessBroken
from jobs.exit_codes import exit_text
from jobs.generation.port import Port
from jobs.job import Context
from jobs.machine.scratch import make_scratch
from jobs.program.argument import Argument
from jobs.program.warden import NOT_STARTED, guarded

FIELDS = frozenset({"model", "socket", "port", "gpus", "in_flight"})
# Where the key is for the server to find; in its arguments all users of the node would see it.
_KEYS = ("VLLM_API_KEY", "LLAMA_API_KEY")
_SOCKET = "engine.sock"  # llama.cpp knows by the ending that it is one
# Seconds between looks whether it answers.
_LOOK = 0.1
# Lines of its log that a message ends with, and characters of each.
_LAST_LINES, _LINE = 8, 300
_TMP = Path("/tmp")
# The longest path of a socket, bytes (unix(7)).
_LONGEST = 107
# Seconds that it gets to end by itself, as vLLM needs some for what it has in /dev/shm; where its process has fewer, it has.
_END = 10.0
# Seconds in which it is gone that is killed, and all that it said is read.
_GONE = 1.0


class Engine:
    """``command`` is that of the server, with fields. ``socket`` is where it listens, or ``port``, of this machine."""

    def __init__(self, command: Sequence[Argument], model: str, context: Context) -> None:
        self.port = Port()
        self._folder = _short_folder(context.scratch)
        self.socket = str(self._folder / _SOCKET)
        self.key = secrets.token_urlsafe(24)
        gpus = sum(device.startswith("cuda") for device in context.devices)
        values = {
            "model": model, "socket": self.socket, "port": self.port.number, "gpus": gpus,
            "in_flight": context.in_flight,
        }  # fmt: skip
        self._command = [word.fill(values) for word in command]
        self._asks_port = any("port" in word.fields for word in command)
        self._name = Path(self._command[0]).name
        self._tail: deque[str] = deque(maxlen=_LAST_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._log: asyncio.Task[None] | None = None

    async def start(self, answers: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Starts it, and returns once it ``answers``; raises ProcessBroken, with the end of its log, where it does not.

        Raises InputError where there is no such program, which no other try helps.
        """
        self._process = await asyncio.create_subprocess_exec(
            *guarded(self._command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            process_group=0,
            env={**os.environ, **dict.fromkeys(_KEYS, self.key)},
        )
        self._log = asyncio.create_task(self._follow(self._process))
        deadline = asyncio.get_running_loop().time() + seconds
        while not await answers():
            if await self.has_ended(_LOOK):
                break
            if asyncio.get_running_loop().time() > deadline:
                raise ProcessBroken(
                    f"the engine {self._name} does not answer, {seconds:g} s after its start{self._said}"
                )
        if self.is_running and self._asks_port and self.port.is_others:
            raise ProcessBroken(
                f"another user's server listens at port {self.port.number}, which the engine was to have"
            )
        if self._process.returncode == NOT_STARTED:
            raise InputError(f"the engine {self._command[0]!r} cannot be started: {' | '.join(self._tail)}")
        self.check()

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        """Its log is the task's."""
        assert process.stdout
        decoder = codecs.getincrementaldecoder("utf-8")("replace")  # what is read may end amid a character
        while data := await process.stdout.read(1 << 16):
            text = decoder.decode(data)
            with contextlib.suppress(OSError, ValueError):
                print(text, end="", flush=True)
            self._tail.extend(line[:_LINE] for line in text.splitlines() if line.strip())

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def check(self) -> None:
        """Raises ProcessBroken, with the end of its log, where it has ended."""
        if not self.is_running:
            raise ProcessBroken(self.how_it_ended)

    @property
    def how_it_ended(self) -> str:
        code = self._process.returncode if self._process else None
        advice = ", as of one that goes on in the background: it has to stay in the foreground" if code == 0 else ""
        return f"the engine {self._name} ended: {exit_text(code)}{advice}{self._said}"

    @property
    def _said(self) -> str:
        return f"; it said last: {' | '.join(self._tail)}" if self._tail else ""

    async def has_ended(self, seconds: float) -> bool:
        """Waits so long for its end; where it has ended, all that it said is read."""
        assert self._process
        assert self._log
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait(), seconds)
        if not self.is_running:
            await asyncio.wait([self._log], timeout=_GONE)
        return not self.is_running

    async def stop(self) -> None:
        """Ends it: by SIGTERM, and with all that it has started where it does not heed that."""
        if self._process and self.is_running:
            self._process.terminate()
            if not await self.has_ended(_END):
                self._process.send_signal(signal.SIGHUP)
                await self.has_ended(_GONE)
        if self._process and self.is_running:
            self._process.kill()
            await self.has_ended(_GONE)
        if self._log:
            self._log.cancel()
        self.port.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _short_folder(scratch: Path) -> Path:
    """A folder of its own, whose path leaves room for the name of a socket; only this user may look into it.

    One in /tmp that its process, which was killed, has left goes with the next one that is made there.
    """
    folder = Path(tempfile.mkdtemp(prefix="engine-", dir=scratch))
    if len(os.fsencode(folder / _SOCKET)) <= _LONGEST:
        return folder
    folder.rmdir()
    return make_scratch(_TMP, "engine-")
