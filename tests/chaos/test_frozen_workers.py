"""A worker that stands still until the others have done its work, and goes on then; and two starts of one worker."""

import signal
from pathlib import Path

import pytest

from jobs.storage.claims import ClaimFolder
from jobs.storage.rundir import RunDir
from tests.support.patience import PATIENCE
from tests.support.task_runs import attempts
from tests.support.worker_arrays import assert_same, left, make_runs, tree, wait_for, worker_array


def done_by(run: RunDir, worker: int) -> int:
    """Rows that beats of a worker cover."""
    return sum(one.beat.done.count for one in attempts(run) if one.start and one.start.worker == worker)


def test_a_worker_that_was_frozen_until_the_others_had_finished_harms_nothing(tmp_path: Path) -> None:
    calm, run = make_runs(tmp_path, 1200, tasks=3, params={"delay": 0.005})
    with worker_array(run) as array:
        frozen, *others = [array.start(index) for index in range(3)]
        wait_for(lambda: done_by(run, 0))
        processes = tree(frozen)
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        for other in others:
            assert other.wait(PATIENCE) == 0
        assert not left(run)
        assert_same(run, calm)
        for process in processes:
            process.send_signal(signal.SIGCONT)
        assert frozen.wait(PATIENCE) == 0
    assert_same(run, calm)


@pytest.mark.thorough
def test_two_starts_of_each_worker_at_once_share_the_work(tmp_path: Path) -> None:
    calm, run = make_runs(tmp_path, 900, tasks=2, params={"delay": 0.005})
    with worker_array(run) as array:
        for start in ("one", "two"):
            for index in range(2):
                array.start(index, (index, start))
        assert array.codes() == [0, 0, 0, 0]
    assert_same(run, calm)
    firsts = [claim for claim in ClaimFolder(run.claims(1)).read() if claim.number == 1]
    assert [claim.range for claim in firsts] == [0, 1]
