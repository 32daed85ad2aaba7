"""The fork server: real processes that end in every way, descriptors that it must not keep, a server that dies."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.kinds import FailureKind
from jobs.machine import kernel_kills
from jobs.machine.kernel_kills import KernelKills
from jobs.node.supervisor.fork_server import Forked, ForkServer, ServerDied
from tests.support.launcher_runs import wait_until
from tests.support.patience import PATIENCE
from tests.support.task_runs import runs


def nothing() -> None:
    pass


def leave(code: int) -> None:
    sys.exit(code)


def fail(text: str) -> None:
    raise ValueError(text)


def shoot_itself(number: int) -> None:
    os.kill(os.getpid(), number)


def write(text: str, descriptor: int) -> None:
    os.write(descriptor, text.encode())


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def list_descriptors(path: str) -> None:
    names = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listdir itself used
            names.append(os.readlink(f"/proc/self/fd/{name}"))
    Path(path).write_text("\n".join(names))


def run_true(path: str) -> None:
    Path(path).write_text(str(subprocess.run(["true"], check=True).returncode))


@pytest.fixture
def server() -> Iterator[ForkServer]:
    server = ForkServer(nothing)
    yield server
    server.close()


def ended(child: Forked) -> int | None:
    child.join(PATIENCE)
    return child.exitcode


def server_of(child: int) -> int:
    """The fork server is the parent of what it forks."""
    return psutil.Process(child).ppid()


@pytest.mark.parametrize(
    ("target", "argument", "code"),
    [
        (sleep, 0, 0),
        (leave, 7, 7),
        (fail, "this child fails", 1),
        (shoot_itself, signal.SIGSEGV, -signal.SIGSEGV),
        (shoot_itself, signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_an_exit_code_reaches_the_supervisor(
    server: ForkServer, target: Callable[[Any], None], argument: object, code: int
) -> None:
    child = server.start(target, argument)
    assert ended(child) == code
    assert child.exitcode == code


def test_a_living_child_has_no_exit_code_and_can_be_killed(server: ForkServer) -> None:
    child = server.start(sleep, 600)
    child.join(0.01)
    assert child.exitcode is None
    child.kill()
    assert ended(child) == -signal.SIGKILL
    child.kill()


def test_a_child_gets_its_descriptors(server: ForkServer) -> None:
    reader, writer = os.pipe()
    child = server.start(write, "hello", writer)
    os.close(writer)
    assert os.read(reader, 100) == b"hello"
    assert os.read(reader, 100) == b""  # nobody else has kept the writing end
    assert ended(child) == 0
    os.close(reader)


def test_a_child_holds_nothing_of_the_supervisor_the_server_or_its_siblings(server: ForkServer, tmp_path: Path) -> None:
    with (tmp_path / "mine").open("w"):
        own = ForkServer(nothing)
        siblings = [own.start(sleep, 600) for _ in range(3)]
        assert ended(own.start(list_descriptors, str(tmp_path / "seen"))) == 0
        own.close()
    seen = [line for line in (tmp_path / "seen").read_text().splitlines() if not line.startswith(("/dev/", "pipe:"))]
    assert not any("mine" in line or "socket" in line or "eventpoll" in line for line in seen)
    assert [ended(sibling) for sibling in siblings] == [-signal.SIGKILL] * 3


def test_a_lock_that_the_supervisor_takes_is_not_kept_by_a_server_that_comes_later(
    server: ForkServer, tmp_path: Path
) -> None:
    first = server.start(sleep, 600)
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.kill(server_of(first.pid), signal.SIGKILL)
        assert ended(server.start(leave, 3)) == 3  # forked by a new server
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_children_of_a_killed_server_die_and_others_can_be_started(server: ForkServer) -> None:
    first = server.start(sleep, 600)
    os.kill(server_of(first.pid), signal.SIGKILL)
    assert ended(first) == -signal.SIGKILL
    wait_until(lambda: not runs(first.pid))
    assert ended(server.start(leave, 5)) == 5


def test_imports_that_end_the_process_are_told() -> None:
    server = ForkServer(lambda: os._exit(9))
    with pytest.raises(ServerDied, match="exit code 9"):
        server.start(sleep, 0)
    server.close()


def test_imports_that_the_kernel_ends_for_their_memory_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KernelKills, "explain", lambda self: True)
    server = ForkServer(lambda: shoot_itself(signal.SIGKILL))
    with pytest.raises(ServerDied) as died:
        server.start(sleep, 0)
    assert died.value.kind is FailureKind.OUT_OF_MEMORY
    server.close()  # of which nothing is left


def test_a_kill_by_the_kernel_long_ago_does_not_explain_the_end_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = tmp_path / "memory.events"
    counts.write_text("oom_kill 0\n")
    monkeypatch.setattr(kernel_kills, "cgroup_files", lambda v1, v2: [counts])
    server = ForkServer(nothing)
    first = server.start(sleep, 600)
    counts.write_text("oom_kill 1\n")  # of a child, say
    for constant in ("_BETWEEN_LOOKS", "_DYING_SECONDS"):
        monkeypatch.setattr(kernel_kills, constant, 0.0)
    server.tick()
    server.tick()
    os.kill(server_of(first.pid), signal.SIGKILL)
    assert ended(first) == -signal.SIGKILL
    assert ended(server.start(leave, 5)) == 5
    server.close()


def test_children_start_programs_as_any_process_does(server: ForkServer, tmp_path: Path) -> None:
    assert ended(server.start(run_true, str(tmp_path / "code"))) == 0
    assert (tmp_path / "code").read_text() == "0"


def test_many_children_at_once(server: ForkServer) -> None:
    children = [server.start(leave, number) for number in range(40)]
    assert [ended(child) for child in children] == list(range(40))


def test_nothing_is_left_when_the_supervisor_dies(tmp_path: Path) -> None:
    script = (
        "import time\nfrom jobs.node.supervisor.fork_server import ForkServer\n"
        "from tests.jobs.node.supervisor.test_fork_server import nothing, sleep\n"
        "server = ForkServer(nothing)\nprint(server.start(sleep, 600).pid, flush=True)\ntime.sleep(600)\n"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout
    child = int(supervisor.stdout.readline())
    server = server_of(child)
    supervisor.kill()
    supervisor.wait()
    wait_until(lambda: not runs(child) and not runs(server))
    supervisor.stdout.close()
