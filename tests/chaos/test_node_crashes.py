"""The machine goes down under an array of workers, and what was not synced is lost or torn: the bytes are the same.

CHAOS_CRASHES=60 in the environment is the long version, of some minutes.
"""

import random
import time
from pathlib import Path

from tests.support.chaos import amount
from tests.support.node_crash import crash
from tests.support.task_runs import written
from tests.support.worker_arrays import assert_same, left, make_runs, wait_for, work_to_the_end, worker_array

CRASHES = amount("CRASHES", 4)
WORKERS = 2


def test_a_beat_never_covers_what_a_crash_of_the_machine_takes(tmp_path: Path) -> None:
    calm, run = make_runs(tmp_path, 300 * CRASHES, tasks=WORKERS, params={"delay": 0.005}, sync_interval=0.5)
    dice, lost = random.Random(5), 0
    for _ in range(CRASHES):
        if not left(run):
            break
        with worker_array(run) as array:
            for index in range(WORKERS):
                array.start(index)
            before = written(run)
            wait_for(lambda was=before: written(run) > was or not array.running)
            time.sleep(dice.uniform(0.0, 1.5))
            array.kill()
        done = left(run)
        lost += crash(run, dice)
        assert left(run) == done
    assert lost
    work_to_the_end(run, WORKERS)
    assert_same(run, calm)
