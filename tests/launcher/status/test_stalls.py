"""Array tasks that finish nothing, and nodes that are slower than the others: told by beats, ended where that is wanted."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.kinds import EndReason, FailureKind
from jobs.machine.running_time import RunningTime
from jobs.node.supervisor.commit_log import AttemptFailed
from jobs.node.supervisor.stall import StallWatch
from jobs.storage.attempts import Attempts
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from launcher.executors import choose_executor
from launcher.status.progress import status_lines
from launcher.status.reader import StatusReader
from launcher.status.stalls import SlowNode, Stalled, find_slow_nodes, find_stalled
from tests.support.builders import AttemptWriter, build_plan
from tests.support.launcher_runs import datasets, kill, launcher, run_of, start, wait_until, write_config

INTERVAL = 10.0


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return build_plan(tmp_path / "run", (0, 800, 1600))


def tell(run: RunDir, worker: int, host: str = "n1", **beat: Any) -> str:
    """The last beat of an attempt with two processes."""
    with AttemptWriter(run, worker=worker, host=host, devices=("cpu", "cpu")) as writer:
        writer.beat(**{"ok": 400, "setup": 5.0, **beat})
        return writer.name


def stalled(run: RunDir, *others: str) -> list[tuple[str, float, float]]:
    """Attempt, seconds, seconds of a batch; all go on but ``others``."""
    attempts = Attempts(run).read()
    live = {attempt.name for attempt in attempts} - {*others}
    found = find_stalled(Plan.read(run.plan), attempts, live, {1: Submission.read(run.submission(1))})
    return [(one.attempt, one.seconds, one.batch) for one in found]


def test_quiet_is_long_by_what_a_batch_takes_in_this_run(run: RunDir) -> None:
    tell(run, 0, rate=2.0, quiet=70.0)  # a process does a batch of 8 rows in 8 s
    assert stalled(run) == []
    late = tell(run, 1, rate=2.0, quiet=81.0)
    assert stalled(run) == [(late, 81.0, 8.0)]
    assert stalled(run, late) == []  # it has ended


def test_quiet_is_not_long_within_a_few_sync_intervals(run: RunDir) -> None:
    tell(run, 0, rate=4000.0, quiet=6 * INTERVAL)
    assert stalled(run) == []
    late = tell(run, 1, rate=4000.0, quiet=6 * INTERVAL + 1)
    assert [name for name, *_ in stalled(run)] == [late]


def test_what_is_slow_itself_is_judged_by_its_own_batches(run: RunDir) -> None:
    for worker in range(3):
        tell(run, worker, rate=200.0)
    tell(run, 3, rate=0.2, quiet=700.0)  # 80 s a batch
    assert stalled(run) == []


def test_a_set_up_may_take_longer_than_those_of_the_others(run: RunDir) -> None:
    tell(run, 0, rate=200.0, setup=30.0)
    tell(run, 1, ok=0, setup=0.0, quiet=250.0)
    assert stalled(run) == []
    late = tell(run, 2, ok=0, setup=0.0, quiet=302.0)
    assert [name for name, *_ in stalled(run)] == [late]


def test_before_anything_is_known_nobody_is_stalled(run: RunDir) -> None:
    tell(run, 0, ok=0, setup=0.0, quiet=10_000.0)
    assert stalled(run) == []


def slow(run: RunDir) -> tuple[SlowNode, ...]:
    return find_slow_nodes(Plan.read(run.plan), Attempts(run).read())


def test_a_node_is_slow_by_what_the_processes_of_the_others_do(run: RunDir) -> None:
    tell(run, 0, "n1", rate=20.0)
    tell(run, 1, "n2", rate=16.0)
    tell(run, 2, "n3", rate=2.0)
    tell(run, 3, "n3", rate=4.0)
    assert slow(run) == (SlowNode("n3", 1.5, 10.0),)
    tell(run, 4, "n4", rate=0.1, ok=39)  # of five batches it is not known
    assert [one.node for one in slow(run)] == ["n3"]


def test_of_two_nodes_nobody_knows_which_is_the_slow_one(run: RunDir) -> None:
    tell(run, 0, "n1", rate=20.0)
    tell(run, 1, "n2", rate=1.0)
    assert slow(run) == ()


def test_slurm_can_do_without_a_node_and_this_machine_cannot() -> None:
    assert choose_executor("slurm").without_nodes(["n1", "n7"]) == "--set slurm.exclude=n1,n7"
    assert choose_executor("local").without_nodes(["n1"]) is None


def look_on(clock: RunningTime, watch: StallWatch, *, works: bool) -> None:
    """A second in which nothing is finished."""
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        clock.look()
        if not works:
            watch.begin()
        watch.look(7)


def test_time_in_which_nothing_is_to_do_is_no_stall() -> None:
    clock = RunningTime()
    watch = StallWatch(clock, 0.4)
    look_on(clock, watch, works=False)
    with pytest.raises(AttemptFailed, match=r"no batch was finished within 0 s \(retry.stall\)") as failed:
        look_on(clock, watch, works=True)
    assert failed.value.kind is FailureKind.STALLED
    assert watch.quiet > 0.4


# --- real tasks


def hanging(folder: Path, **sections: Any) -> Path:
    """A config of a Job that hangs where it first gets row 150."""
    params = {"marker": str(folder / "hung"), "row": 150}
    return write_config(folder, 200, job="tests.example_jobs.hanging_jobs:HangsOnce", params=params, **sections)


def test_a_task_that_hangs_is_told_and_no_time_left_while_nobody_else_works(tmp_path: Path) -> None:
    config = hanging(tmp_path, local={"parallelism": 1})
    process, run = start(tmp_path, "run", config), run_of(config)
    found: list[Stalled] = []

    def is_told() -> bool:
        status = StatusReader(run).read() if run.plan.exists() else None
        found[:] = status.laggards.stalled if status else ()
        if not (status and found):
            return False
        assert status.eta is None
        return any("stalled: " in line for line in status_lines(status))

    try:
        wait_until(is_told)
    finally:
        kill(process)
    assert [(one.attempt[:8], one.node) for one in found] == [(found[0].attempt[:8], os.uname().nodename)]
    assert found[0].seconds > 6 * 0.2


def test_a_task_that_hangs_is_ended_and_others_do_its_rows(tmp_path: Path) -> None:
    # On a loaded machine a set-up may take as long; those that come after the one that hangs then find that it does not.
    config = hanging(tmp_path, retry={"stall": "0:06", "attempts": 9})
    done, run = launcher(tmp_path, "run", config), run_of(config)
    assert done.returncode == 0, done.stderr
    failed = [attempt.beat for attempt in Attempts(run).read() if attempt.beat.end is EndReason.FAILED]
    assert {(beat.kind, beat.message) for beat in failed} == {
        (FailureKind.STALLED, "no batch was finished within 6 s (retry.stall), the set-up included")
    }
    assert datasets(run.result)["y"][:, 0].tolist() == (2 * np.arange(200)).tolist()
