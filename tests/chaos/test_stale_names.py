"""A worker that sees other workers' claims only seconds later, as on a network file system: work twice, bytes the same."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.task_runs import written
from tests.support.worker_arrays import assert_same, left, make_runs, worker_array

SOURCE = Path(__file__).parents[1] / "support" / "stale_names.c"
COMPILER = shutil.which("cc") or shutil.which("gcc")
LOOK = "import os, sys; print(os.path.exists(sys.argv[1]), os.listdir(os.path.dirname(sys.argv[1])))"


@pytest.fixture
def stale(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that sees no claim younger than three seconds."""
    if COMPILER is None or platform.machine() != "x86_64":
        pytest.skip("stale names need a C compiler, and x86_64")
    library = tmp_path / "stale_names.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "STALE_SECONDS": "3"}


def test_the_library_hides_new_claims_and_nothing_else(tmp_path: Path, stale: dict[str, str]) -> None:
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
