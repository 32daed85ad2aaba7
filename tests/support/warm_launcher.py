"""The command ``launcher`` without Python's start and imports, most of what a command takes: a fork of a process that has them.

It has the folder, environment and output of a command that is started; the process that forks runs none itself.
"""

import atexit
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

# What Python, its libraries and the dynamic linker read when they start.
_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "OMP_", "OPENBLAS_", "COVERAGE")
_PACKAGES = (
    "launcher.commands",
    "launcher.plan",
    "launcher.submit",
    "launcher.manifest",
    "launcher.local",
    "jobs.gather",
)


def run(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str] | None:
    """A command to its end; None where its environment has something that only a start of Python heeds."""
    if _at_start(environment) != _at_start(os.environ) | {"PYTHONPATH": environment["PYTHONPATH"]}:
        return None
    pipes = [os.pipe() for _ in range(3)]
    request = json.dumps({"folder": str(folder), "arguments": arguments, "environment": dict(environment)})
    socket.send_fds(_server(environment["PYTHONPATH"]), [request.encode()], [writing for _, writing in pipes])
    for _, writing in pipes:
        os.close(writing)
    stdout, stderr, told = _drained([reading for reading, _ in pipes], arguments, timeout)
    return subprocess.CompletedProcess(["launcher", *arguments], int(told.split()[1]), stdout, stderr)


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_AT_START)}


def _drained(pipes: Sequence[int], arguments: Sequence[str], timeout: float) -> list[str]:
    """All that comes from the pipes until nobody has them any more: stdout, stderr, and pid and exit status."""
    found = dict.fromkeys(pipes, b"")
    end = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(end - time.monotonic())
            if not ready:
                os.kill(int(found[pipes[-1]].split()[0]), signal.SIGKILL)
                raise subprocess.TimeoutExpired(arguments, timeout)
            for key, _ in ready:
                content = os.read(key.fd, 1 << 16)
                found[key.fd] += content
                if not content:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return [content.decode() for content in found.values()]


@cache
def _server(path: str) -> socket.socket:
    """The process that forks; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    own = {name: value for name, value in os.environ.items() if name != "TMPDIR"}  # of the one test that came first
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
        env={**own, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},  # who has threads should not fork
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    theirs.close()
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


def _serve(connection: socket.socket) -> None:
    """Returns in each fork that is to be a command."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for a command
    # The one thread is of the allocator of pyarrow, which sees to forks.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    while True:
        request, pipes, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        if not request:
            os._exit(0)
        if not os.fork():
            connection.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _become(json.loads(request), pipes)
        for pipe in pipes:
            os.close(pipe)


def _become(request: Mapping[str, Any], pipes: Sequence[int]) -> None:
    """Another fork is the command, whose pid and exit status this one tells."""
    *outputs, told = pipes
    if pid := os.fork():
        for pipe in outputs:
            os.close(pipe)
        os.write(told, f"{pid} ".encode())
        _, status = os.waitpid(pid, 0)
        os.write(told, str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    os.close(told)
    for number, pipe in enumerate(outputs, 1):
        os.dup2(pipe, number)
        os.close(pipe)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False, errors="backslashreplace", buffering=1)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = request["arguments"]


def _import_all() -> None:
    from jobs.machine.imports import many_imports
    from launcher.cli import _without_plugins

    with many_imports(), _without_plugins():
        for package in map(import_module, _PACKAGES):
            for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                import_module(module.name)


if __name__ == "__main__":
    _import_all()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    from shardrun import main

    code = main()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # Python takes 40 ms to take itself apart
