"""The executors: each passes the same tests; which one a config means; what they cost to import."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import RunError
from launcher.executors import EXECUTORS, choose_executor
from tests.launcher.executor_tests import ExecutorTests
from tests.slurm_cluster import SlurmCluster
from tests.support.memory_executor import memory_scheduler
from tests.support.slurm_runs import use_cluster


class TestLocalExecutor(ExecutorTests):
    name = "local"

    @pytest.fixture
    def here(self) -> None:
        """It is everywhere."""


class TestMemoryExecutor(ExecutorTests):
    name = "memory"

    @pytest.fixture
    def here(self) -> Iterator[None]:
        with memory_scheduler():
            yield


@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
class TestSlurmExecutor(ExecutorTests):
    name = "slurm"
    sections: Mapping[str, Any] = {"slurm": {"mem": "600M"}}

    @pytest.fixture
    def here(self, clean_slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        use_cluster(clean_slurm, monkeypatch)


def test_auto_is_the_first_scheduler_that_is_here_else_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert choose_executor("auto").name == "local"
    (tmp_path / "sbatch").touch(0o755)
    assert choose_executor("auto").name == "slurm"


def test_a_submission_of_an_executor_that_is_not_here_is_refused() -> None:
    with pytest.raises(RunError, match=r"no executor 'pbs'; there are slurm, local"):
        choose_executor("pbs")


def test_the_table_is_all_that_names_them() -> None:
    assert {name: choose_executor(name).name for name in EXECUTORS} == {name: name for name in EXECUTORS}
