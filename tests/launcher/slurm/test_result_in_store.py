"""The finalize job puts the result into a store, with the credentials that it gets from the environment of submit."""

from pathlib import Path

import pytest

from launcher.status.reader import StatusReader
from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import launcher, run_of, wait_until, write_config
from tests.support.object_store import serving
from tests.support.patience import PATIENCE
from tests.support.slurm_runs import use_cluster

pytest.importorskip("obstore")
pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]


def test_a_result_goes_to_a_store_from_a_node(
    clean_slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cluster(clean_slurm, monkeypatch)
    url = "s3://bucket/results/toy.h5"
    config = write_config(
        tmp_path, 40, executor="slurm", slurm={"mem": "600M", "tasks": 1}, output={"path": url, "max_file_size": "1M"}
    )
    with serving(tmp_path / "store") as store:
        done = launcher(tmp_path, "submit", config.name)
        assert done.returncode == 0, done.stderr
        reader = StatusReader(run_of(config))
        wait_until(lambda: reader.read().state != "running", PATIENCE)
        assert reader.read().state == "complete", reader.read().errors
        assert store.written == ["toy.h5.try", "toy.h5"]
        done = launcher(tmp_path, "verify", "toy")
        assert (done.returncode, f"result: {url}, intact" in done.stdout) == (0, True), done.stdout + done.stderr
    secret = store.variables["AWS_SECRET_ACCESS_KEY"].encode()
    assert not any(secret in path.read_bytes() for path in run_of(config).path.rglob("*") if path.is_file())
