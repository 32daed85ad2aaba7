"""slurm.array_parallelism is the run's: it holds over all of its arrays that wait or run at the same time."""

from pathlib import Path

import pytest

from tests.support.slurm_fixtures import BringUp
from tests.support.slurm_runs import SlurmRun

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("sites")]


@pytest.mark.thorough
def test_of_several_submissions_no_more_tasks_run_at_a_time_than_of_one(site: BringUp, tmp_path: Path) -> None:
    cluster = site("no-accounting")
    options = {"hold": True, "array_parallelism": 3, "mem": "300M"}
    toy = SlurmRun(
        cluster,
        tmp_path,
        "Toy",
        rows=12,
        shards=6,
        options=options,
        node={"workers": 0, "processes": 1, "batch_size": 1},
    )
    assert toy.launcher("plan", toy.config.name).returncode == 0
    for shards in ("0-1", "2-3", "4-5"):
        toy.rerun("--shards", shards)
    assert [toy.asked(number, "array") for number in (1, 2)] == ["0-1%3", "0-1%1"]
    held = toy.submission(3)
    assert (held.job_ids, held.finalize_id) == ((), toy.submission(1).finalize_id)
    toy.launcher("cancel", toy.run.path)
    toy.rerun("--set", "slurm.hold=false")
    assert toy.end()["state"] == "complete"
    assert toy.asked(4, "array") == "0-2%3"
