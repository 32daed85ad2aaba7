"""Meter: readings of real processes, exact where that is needed and quick otherwise, with all that they have started."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from jobs.kinds import FailureKind
from jobs.machine import memory, tree_memory
from jobs.node.supervisor.commit_log import AttemptFailed
from jobs.node.supervisor.meter import Meter
from tests.jobs.machine.test_devices import BusyNvml

_MB = 1 << 20
_NO_LIMIT = 1 << 60
# Says its pid, then takes as many MB more as each line says.
_EATS = """
import os, sys
taken = []
print(os.getpid(), flush=True)
for line in sys.stdin:
    taken.append(b"x" * (int(line) << 20))
    print("taken", flush=True)
"""
# A child that says its pid, and has a program in a session and environment of its own take the memory.
_STARTS = """
import os, subprocess, sys
print(os.getpid(), flush=True)
subprocess.run(["setsid", "--wait", "env", "-i", sys.executable, "-c", sys.argv[1]])
"""
# Stands between a child and this process.
_GUARDS = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"


@contextmanager
def eater(*starts: str) -> Iterator[tuple[int, Callable[[int], None]]]:
    """(pid of a child with a guardian, what makes it take so many MB more)."""
    with subprocess.Popen([sys.executable, "-c", _GUARDS, *starts, _EATS], stdin=-1, stdout=-1, text=True) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin
        assert stdout
        pid = int(stdout.readline())
        if starts:
            assert int(stdout.readline()) != pid

        def eat(megabytes: int) -> None:
            stdin.write(f"{megabytes}\n")
            stdin.flush()
            assert stdout.readline() == "taken\n"

        eat(1)
        yield pid, eat
        stdin.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes whose exact memory was asked for."""
    asked: list[int] = []
    resident = memory.resident

    def ask(pid: int) -> tuple[int, bool]:
        asked.append(pid)
        return resident(pid)

    monkeypatch.setattr(memory, "resident", ask)
    return asked


def test_the_kernel_is_asked_once_for_the_memory_of_processes_that_keep_what_they_have(
    asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_memory, "EXACT_SECONDS", 3600.0)
    readings = Meter(1, _NO_LIMIT, ())
    with eater() as (pid, _):
        assert readings.read([pid]).children[pid] > _MB
        before = len(asked)
        assert len({readings.read([pid]).children[pid] for _ in range(20)}) == 1
        assert len(asked) == before


@pytest.mark.parametrize("starts", [(), (_STARTS,)])
def test_what_a_process_or_a_program_of_it_takes_is_seen_at_the_next_reading(starts: tuple[str, ...]) -> None:
    readings = Meter(1, _NO_LIMIT, ())
    with eater(*starts) as (pid, eat):
        before = readings.read([pid])
        for step in range(1, 4):
            eat(50)
            reading = readings.read([pid])
            assert reading.largest == pid
            assert reading.children[pid] >= before.children[pid] + (step * 50 - 1) * _MB
            assert reading.total >= before.total + (step * 50 - 1) * _MB
        assert readings.usage().peak_memory >= before.total + 149 * _MB


def test_a_process_that_joins_or_goes_is_seen_at_the_next_reading() -> None:
    readings = Meter(1, _NO_LIMIT, ())
    with eater() as (first, eat):
        eat(50)
        alone = readings.read([first]).total
        with eater(_STARTS) as (second, eat_too):
            eat_too(20)
            both = readings.read([first, second])
            assert both.total >= alone + 20 * _MB
            assert both.children.keys() == {first, second}
        assert readings.read([first, second]).children.keys() == {first}
        assert readings.read([first]).total < both.total - 19 * _MB


def test_memory_is_read_exactly_after_some_time_even_where_no_page_came(
    asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that writes to pages which it shared until then takes more memory, and has as many pages as before."""
    monkeypatch.setattr(tree_memory, "EXACT_SECONDS", 0.0)
    readings = Meter(1, _NO_LIMIT, ())
    with eater() as (pid, _):
        readings.read([pid])
        before = len(asked)
        readings.read([pid])
        assert len(asked) > before


def test_a_reading_over_the_limit_is_exact(asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_memory, "EXACT_SECONDS", 3600.0)
    readings = Meter(1, _MB, ())
    with eater() as (pid, _):
        readings.read([pid])
        asked.clear()
        readings.read([pid])
        assert {pid, os.getpid()} <= set(asked)


def test_the_peak_of_an_attempt_is_its_own() -> None:
    readings = Meter(1, _NO_LIMIT, ())
    with eater() as (pid, eat):
        eat(100)
        readings.read([pid])
    before = readings.usage().peak_memory
    readings.begin()
    assert readings.usage().peak_memory == 0
    with eater() as (pid, _):
        readings.read([pid])
    assert _MB < readings.usage().peak_memory < before - 50 * _MB


def test_the_time_of_all_that_was_started_counts_also_after_its_end() -> None:
    readings = Meter(1, _NO_LIMIT, ())
    readings.begin()
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run(["sh", "-c", 'setsid --wait env -i "$0" -c "$1"', sys.executable, busy], check=True)
    assert readings.usage().cpu_seconds >= 0.5


def test_the_cpus_that_are_kept_busy_are_those_of_the_time_since_somebody_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    readings = Meter(1, _NO_LIMIT, ())
    readings.begin()
    assert readings.busy_cpus() is None
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
    clock[0] += 2
    readings.read([])
    told = readings.busy_cpus()
    assert told is not None
    assert told >= 0.25
    clock[0] += 0.5
    readings.read([])
    assert readings.busy_cpus() == told, "half a second tells nothing"
    clock[0] += 1000
    readings.read([])
    assert readings.busy_cpus() == pytest.approx(0, abs=0.01)


def test_imports_that_take_too_much_end_the_attempt_with_the_sizes() -> None:
    readings = Meter(1, _MB, ())
    with pytest.raises(
        AttemptFailed, match=r"importing what the Job needs takes \d+ MiB, of 1 MiB that the task may use"
    ) as e:
        readings.check_imports(False)
    assert e.value.kind is FailureKind.OUT_OF_MEMORY
    readings.check_imports(False)  # not due again
    with pytest.raises(AttemptFailed):
        readings.check_imports(True)  # the last look, before there are children


def test_a_process_that_is_gone_takes_nothing() -> None:
    with eater() as (pid, _):
        pass
    assert memory.pages_of(pid) == 0
    assert Meter(1, _NO_LIMIT, ()).read([pid]).children == {}


def test_what_nvml_tells_is_of_the_attempt_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", BusyNvml("pynvml"))
    monkeypatch.setattr("jobs.node.supervisor.meter._GPU_SECONDS", 0.0)
    readings = Meter(2, _NO_LIMIT, ("1",))
    assert (readings.cpus, readings.gpus) == (2, 1)
    readings.read([])
    readings.begin()
    for _ in range(3):
        readings.read([])
    told = readings.usage()
    assert told.energy == 2 * 3, "since the first look, and once more at the end"
    assert (told.gpu_use, told.gpu_memory, told.gpu_memory_limit) == (0.8, 30, 100)
    assert readings.busy_gpus == 0.8
    readings.begin()
    assert readings.busy_gpus is None
    assert Meter(2, _NO_LIMIT, ()).usage().energy is None
