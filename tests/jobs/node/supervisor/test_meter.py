"""Meter: readings of real processes, exact where that is needed and quick otherwise."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from jobs.machine import memory
from jobs.node.supervisor import meter
from jobs.node.supervisor.meter import Meter

_MB = 1 << 20
# Takes as many MB more as each line says.
_EATER = """
import sys
taken = []
for line in sys.stdin:
    taken.append(b"x" * (int(line) << 20))
    print("taken", flush=True)
"""


@contextmanager
def eater() -> Iterator[tuple[int, Callable[[int], None]]]:
    """(pid of a process, what makes it take so many MB more)."""
    with subprocess.Popen([sys.executable, "-c", _EATER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin
        assert stdout

        def eat(megabytes: int) -> None:
            stdin.write(f"{megabytes}\n".encode())
            stdin.flush()
            assert stdout.readline() == b"taken\n"

        eat(1)
        yield process.pid, eat
        stdin.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes whose exact memory was asked for."""
    asked: list[int] = []
    resident = memory.resident

    def ask(pid: int) -> int:
        asked.append(pid)
        return resident(pid)

    monkeypatch.setattr(memory, "resident", ask)
    return asked


def test_the_kernel_is_asked_once_for_the_memory_of_processes_that_keep_what_they_have(
    asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "EXACT_SECONDS", 3600.0)
    readings = Meter(1, 0, ())
    with eater() as (pid, _):
        assert readings.read([pid])[0] > _MB
        before = len(asked)
        assert len({readings.read([pid]) for _ in range(20)}) == 1
        assert len(asked) == before


def test_what_a_process_takes_is_seen_at_the_next_reading() -> None:
    readings = Meter(1, 0, ())
    with eater() as (pid, eat):
        before = readings.read([pid])[0]
        for step in range(1, 4):
            eat(50)
            total, largest, size = readings.read([pid])
            assert total >= before + (step * 50 - 1) * _MB
            assert (largest, size) == (pid, total)
        assert readings.usage().peak_memory >= before + 149 * _MB


def test_a_process_that_joins_or_goes_is_seen_at_the_next_reading() -> None:
    readings = Meter(1, 0, ())
    with eater() as (first, eat), eater() as (second, _):
        eat(50)
        alone = readings.read([first])[0]
        assert readings.read([first, second])[0] > alone
        assert readings.read([second])[1] == second


def test_memory_is_read_exactly_after_some_time_even_where_no_page_came(
    asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that writes to pages which it shared until then takes more memory, and has as many pages as before."""
    monkeypatch.setattr(meter, "EXACT_SECONDS", 0.0)
    readings = Meter(1, 0, ())
    with eater() as (pid, _):
        readings.read([pid])
        before = len(asked)
        readings.read([pid])
        assert len(asked) > before


def test_the_peak_of_an_attempt_is_its_own() -> None:
    readings = Meter(1, 0, ())
    with eater() as (pid, eat):
        eat(100)
        readings.read([pid])
    before = readings.usage().peak_memory
    readings.begin()
    assert readings.usage().peak_memory == 0
    with eater() as (pid, _):
        readings.read([pid])
    assert _MB < readings.usage().peak_memory < before - 50 * _MB


def test_a_process_that_is_gone_takes_nothing() -> None:
    with eater() as (pid, _):
        pass
    assert memory.pages_of(pid) == 0
    assert Meter(1, 0, ()).read([pid]) == (0, pid, 0)
