"""kill -9 of any process of an array's workers, at any moment: they are started again, and the bytes are the same.

CHAOS_KILLS=500 in the environment is the long version, of some minutes.
"""

import random
import time
from pathlib import Path

import psutil
import pytest

from tests.support.chaos import amount
from tests.support.worker_arrays import WorkerArray, assert_same, left, make_runs, work_to_the_end, worker_array

KILLS = 25
ROUNDS = max(1, amount("KILLS", 0) // KILLS)
WORKERS = 3


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_kills_of_any_process_of_an_array_change_nothing(tmp_path: Path, seed: int) -> None:
    calm, run = make_runs(tmp_path, 60 * KILLS, tasks=WORKERS, params={"delay": 0.005})
    with worker_array(run) as array:
        kills = kill_until_done(array, random.Random(seed))
        codes = array.codes()
    # Where three in a row were killed at the same row before they had done anything, it is left to another submission.
    print(f"{kills} kills, {left(run).count} rows left to another submission, exit codes {codes}")
    work_to_the_end(run, WORKERS)
    assert_same(run, calm)


def kill_until_done(array: WorkerArray, dice: random.Random) -> int:
    """Returns how many processes were killed; who was killed is started again, who has left is not."""
    kills = 0
    for index in range(WORKERS):
        array.start(index)
    while array.running:
        time.sleep(dice.uniform(0.1, 0.6))
        if kills < KILLS and (everyone := array.processes()):
            kills += kill(dice.choice(everyone))
        for index, worker in array.workers.items():
            if worker.poll() not in (None, 0) and left(array.run):
                array.start(index)
    return kills


def kill(process: psutil.Process) -> bool:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True
