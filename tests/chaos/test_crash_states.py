"""All that a crash of the machine may leave of a run, from its plan to its result: going on gives the same result.

CHAOS_STATES=10000 in the environment is the long version, of some minutes.
"""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.gather.redo import damaged_rows
from jobs.storage.beats import Beat
from jobs.storage.journal import decode
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from tests.support.chaos import amount
from tests.support.crash_states import KEPT, Disk, crash_states, restore
from tests.support.disk_calls import Call, disk_calls
from tests.support.instant_executor import go_on, instant_executor
from tests.support.launcher_runs import datasets, launcher, run_of, write_config
from tests.support.task_runs import done_rows

STATES = amount("STATES", 40, 120)


@pytest.fixture
def instant() -> Iterator[None]:
    with instant_executor():
        yield


def recorded_run(folder: Path) -> tuple[Path, list[Call]]:
    """The config of a run that has ended, and all that it did to its files; nobody reads the logs."""
    config = write_config(folder, 40, job="Everything", params={"wait": 0.02}, shards=3)
    run = run_of(config)
    run.path.parent.mkdir()
    calls = disk_calls(folder, run.path.parent)
    done = launcher(folder, "run", config, variables=calls.recording())
    assert done.returncode == 0, done.stderr
    return config, [call for call in calls.recorded() if "/logs/" not in call.path and not call.path.endswith(".log")]


def test_every_state_that_a_crash_may_leave_ends_in_the_same_result(tmp_path: Path, instant: None) -> None:
    config, calls = recorded_run(tmp_path)
    assert {call.kind for call in calls} >= set("cwsmru")
    run = run_of(config)
    assert_all_recorded(calls, run.path.parent)
    expected = datasets(run.result)
    states = crash_states(calls, run.path.parent, random.Random(3), STATES)
    covered, tried = covered_rows(calls), 0
    for number, state in states:
        shutil.rmtree(run.path, ignore_errors=True)
        restore(state, run.path.parent)
        last = calls[number - 1]
        where = f"after call {number}, {last.kind} {last.path}: files {sorted(state)}"
        assert_nothing_wrong(run, expected, where)
        assert not covered[number - 1] - done_rows(run), where
        for _ in range(2):
            code, said = go_on(config)
            if code == 0:
                break
        assert code == 0, f"{where}: {said}"
        assert_same(run.result, expected, where)
        tried += 1
        if tried % 500 == 0:
            print(f"{tried} states recovered", flush=True)
    print(f"{tried} states of {len(calls)} calls: all recovered")


def assert_all_recorded(calls: list[Call], root: Path) -> None:
    """Where nothing is lost, the calls make the files that are there."""
    disk = Disk(root)
    for call in calls:
        disk.apply(call)
    made = disk.crash([KEPT] * len(disk.waiting()))
    there = [path for path in root.rglob("*") if path.suffix != ".log"]
    assert made == {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in there}


def covered_rows(calls: list[Call]) -> list[Spans]:
    """After each call, the rows that are in a beat that was synced."""
    journals: dict[str, bytes] = {}
    found, covered = [], Spans()
    for call in calls:
        if call.kind == "w" and call.path.endswith(".journal"):
            journals[call.path] = journals.get(call.path, b"") + call.data
        elif call.kind == "s" and call.path in journals:
            beats = [record for line in journals[call.path].splitlines() if isinstance(record := decode(line), Beat)]
            covered |= beats[-1].done if beats else Spans()
        found.append(covered)
    return found


def assert_nothing_wrong(run: RunDir, expected: object, where: str) -> None:
    """What is there before anybody goes on: a beat covers what is on disk, and a result is the right one."""
    if run.result.exists():
        assert_same(run.result, expected, where)
    if run.plan.exists():
        plan = Plan.read(run.plan)
        assert not damaged_rows(run, plan, Spans([(0, plan.rows)])), where


def assert_same(path: Path, expected: object, where: str) -> None:
    found = datasets(path)
    assert isinstance(expected, dict)
    assert found.keys() == expected.keys(), where
    assert all((found[name].tobytes() == expected[name].tobytes()) for name in expected), where
