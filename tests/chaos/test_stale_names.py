"""A worker that sees other workers' claims only seconds later, as on a network file system: work twice, bytes the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.disk_calls import build_library
from tests.support.task_runs import written
from tests.support.worker_arrays import assert_same, left, make_runs, worker_array

LOOK = "import os, sys; print(os.path.exists(sys.argv[1]), os.listdir(os.path.dirname(sys.argv[1])))"


@pytest.fixture
def stale(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that sees no claim younger than three seconds."""
    return {"LD_PRELOAD": str(build_library("stale_names.c", tmp_path)), "STALE_SECONDS": "3"}


def test_the_library_hides_new_claims_and_nothing_else(tmp_path: Path, stale: dict[str, str]) -> None:
    stale["STALE_SECONDS"] = "3600"  # a process may take longer than a few to begin
    for name in ("0001.claims", "else"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "000000.1"
        path.touch()
        command = [sys.executable, "-c", LOOK, str(path)]
        found = subprocess.run(command, env={**os.environ, **stale}, capture_output=True, text=True, check=True)
        assert found.stdout.strip() == ("False []" if name == "0001.claims" else "True ['000000.1']")


def test_stale_names_cost_work_and_nothing_else(tmp_path: Path, stale: dict[str, str]) -> None:
    calm, run = make_runs(tmp_path, 1500, tasks=3, params={"delay": 0.005})
    with worker_array(run) as array:
        for index in range(3):
            array.start(index, environment=stale if index != 1 else None)
        assert array.codes() == [0, 0, 0]
    assert not left(run)
    assert_same(run, calm)
    print(f"{written(run)} batches computed of {-(-1500 // 16)}")
