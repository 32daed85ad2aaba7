"""A run over tars: pool workers read every file where it lies, and a sample whose file has gone bad fails alone."""

from pathlib import Path

import numpy as np
import pytest

from launcher import results
from tests.support.launcher_runs import launcher, run_of, write_config
from tests.support.object_store import serving
from tests.support.tars import write_tar

KEYS = [f"{number:03d}" for number in range(60)]


def test_a_run_over_tars_computes_every_sample_from_its_own_file(tmp_path: Path) -> None:
    contents = {key: bytes([int(key)]) * (17 * int(key)) for key in KEYS}
    for number in range(3):
        keys = KEYS[20 * number : 20 * number + 20]
        write_tar(tmp_path / f"t{number}.tar", [(f"{key}.bin", contents[key]) for key in keys])
    config = write_config(
        tmp_path,
        job="tests.example_jobs.tar_jobs:Lengths",
        data={"manifest": "t{0..2}.tar"},
        node={"workers": 2, "max_failed_samples": 1},
    )
    assert launcher(tmp_path, "plan", config).returncode == 0
    with (tmp_path / "t1.tar").open("r+b") as file:  # a header that says another length
        file.seek((tmp_path / "t1.tar").read_bytes().index(b"030.bin"))
        file.write(b"999")
    run = run_of(config).path
    done = launcher(tmp_path, "run", run)
    assert done.returncode == 0, done.stderr  # one sample of a shard may fail
    assert "has changed since the run was planned" in launcher(tmp_path, "errors", run).stdout
    with results.open(run) as found:
        good = np.flatnonzero(found.status == 1)
        assert [key for row, key in enumerate(KEYS) if row not in good] == ["030"]
        expected = [[len(contents[KEYS[row]]), sum(contents[KEYS[row]])] for row in good]
        assert np.stack([found["length"][:][good], found["sum"][:][good]], 1).tolist() == expected
        assert found.ids[5] == "t0.tar/005"


def test_workers_read_tars_in_a_store_each_for_itself(tmp_path: Path) -> None:
    pytest.importorskip("obstore")
    (tmp_path / "store" / "bucket").mkdir(parents=True)
    for number in range(2):
        files = [(f"{key}.bin", bytes([int(key)]) * (17 * int(key))) for key in KEYS[30 * number : 30 * number + 30]]
        write_tar(tmp_path / "store" / "bucket" / f"{number}.tar", files)
    config = write_config(
        tmp_path,
        job="tests.example_jobs.tar_jobs:Lengths",
        data={"manifest": "s3://bucket/*.tar"},
        node={"workers": 2},
    )
    with serving(tmp_path / "store") as store:
        done = launcher(tmp_path, "run", config)
    assert done.returncode == 0, done.stdout + done.stderr
    run = run_of(config).path
    with results.open(run) as found:
        assert found.ids[31] == "s3://bucket/1.tar/031"
        assert found["length"][:].tolist() == [17 * int(key) for key in KEYS]
        assert found["sum"][:].tolist() == [17 * int(key) ** 2 for key in KEYS]
    secret = store.variables["AWS_SECRET_ACCESS_KEY"].encode()
    assert [path for path in run.rglob("*") if path.is_file() and secret in path.read_bytes()] == []
