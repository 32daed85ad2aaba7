"""Several manifests in one run, on a real Slurm: one array for all of them, a result of each."""

from pathlib import Path

import pytest

from jobs.storage.plans import Plan
from launcher.status.reader import StatusReader
from tests.jobs.storage.test_several_manifests import check_toy, write_parts
from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import document, launcher, run_of, wait_until
from tests.support.slurm_runs import use_cluster

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]


def test_manifests_side_by_side_share_one_array_and_get_a_result_each(
    clean_slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cluster(clean_slurm, monkeypatch)
    sizes = {"train": 64, "test": 32}
    params = {"bad": {"70": "exit"}}
    config = write_parts(
        tmp_path, sizes, "parallel", shards=12, params=params, executor="slurm", node={"max_failed_samples": 1},
        slurm={"mem": "600M", "shards_per_task": 2}, output={"path": "{manifest}-embedded.h5"},
    )  # fmt: skip
    done = launcher(tmp_path, "submit", config.name, "--json")
    assert done.returncode == 0, done.stderr
    assert len(document(done)["job_ids"]) == 1
    run = run_of(config)
    reader = StatusReader(run)
    wait_until(lambda: reader.read().state != "running")
    found = reader.read()
    assert found.state == "complete", found
    assert [(one.name, one.ok, one.failed) for one in found.manifests] == [("train", 64, 0), ("test", 31, 1)]
    submission = found.submissions[0].submission
    assert submission.tasks == 6
    # Elements begin with ranges of both, of each in its order.
    assert {start >= 64 for start, _ in submission.ranges[:6]} == {True, False}
    assert all(
        own == sorted(own) for own in ([r for r in submission.ranges if (r[0] >= 64) is late] for late in (True, False))
    )
    assert Plan.read(run.plan).parts[1].start == 64
    check_toy(run, "train", 64)
    assert sorted(path.name for path in tmp_path.glob("*.h5")) == ["test-embedded.h5", "train-embedded.h5"]
    assert launcher(tmp_path, "verify", "toy").returncode == 0
