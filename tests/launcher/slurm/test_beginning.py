"""The array of a run that takes samples while their run goes on waits in Slurm until that has begun, where Slurm can tell."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Resources, Submission
from launcher.config.config import load_config
from launcher.plan.plan import make_plan
from launcher.slurm.beginning import beginning
from launcher.slurm.scripts import array_script
from launcher.slurm.template import Template
from tests.support.builders import AttemptWriter, change_plan, submit
from tests.support.launcher_runs import write_config
from tests.support.overlaps import build_downstream, build_upstream, end_submission, upstream_of


@pytest.fixture
def first(tmp_path: Path) -> RunDir:
    """Slurm has its array, job 71."""
    run = build_upstream(tmp_path)
    started(run)
    return run


def started(run: RunDir, number: int = 1, **fields: Any) -> None:
    known = Submission.read(run.submission(number))
    replace(known, **{"executor": "slurm", "job_ids": (f"7{number}",), **fields}).write(run.submission(number))


def dependency(first: RunDir, **fields: Any) -> str | None:
    second = build_downstream(first.path.parent, upstream_of(first))
    return beginning(second, replace(Submission.read(second.submission(1)), executor="slurm", **fields))


def begin(run: RunDir) -> None:
    AttemptWriter(run).close()


def lose(run: RunDir) -> None:
    started(run, job_ids=())


def elsewhere(run: RunDir) -> None:
    started(run, cluster="other")


def by_hand(run: RunDir) -> None:
    started(run, executor="local")


def test_it_waits_for_the_first_array_task(first: RunDir) -> None:
    assert dependency(first) == "after:71_0"


def test_or_for_the_first_job_where_there_are_no_arrays(first: RunDir) -> None:
    started(first, resources=Resources(single_jobs=True), job_ids=("71", "72"))
    assert dependency(first) == "after:71"


@pytest.mark.parametrize("becomes", [begin, end_submission, lose, elsewhere, by_hand])
def test_it_waits_for_nothing_that_has_been_or_that_its_slurm_does_not_know(
    first: RunDir, becomes: Callable[[RunDir], None]
) -> None:
    becomes(first)
    assert dependency(first) is None


def test_on_another_cluster_it_waits_for_what_is_there(first: RunDir) -> None:
    elsewhere(first)
    assert dependency(first, cluster="other") == "after:71_0"


def test_of_several_submissions_one_may_have_begun(first: RunDir) -> None:
    submit(first, 2)
    started(first, 2)
    assert dependency(first) == "after:71_0"
    end_submission(first)
    assert dependency(first) == "after:72_0"
    AttemptWriter(first, 2).close()
    assert dependency(first) is None


def test_a_run_that_does_not_overlap_waits_for_nothing_here(first: RunDir) -> None:
    second = build_downstream(first.path.parent, replace(upstream_of(first), overlaps=False))
    assert beginning(second, Submission.read(second.submission(1))) is None


def options(folder: Path, first: RunDir, attempt: int = 1, **slurm: Any) -> dict[str, str | None]:
    config = load_config(write_config(folder, executor="slurm", slurm=slurm))
    run = make_plan(config).run
    manifest = {**Plan.read(run.plan).manifest, "upstream": upstream_of(first).to_json()}
    change_plan(run, manifest=manifest)
    made = submit(run)
    made = replace(made, executor="slurm", resources=Resources(attempt=attempt))
    return Template(array_script(run, config, made), "script").options


def test_the_script_says_so_unless_the_user_has_a_job_of_his_own_to_wait_for(tmp_path: Path, first: RunDir) -> None:
    assert options(tmp_path, first)["dependency"] == "after:71_0"
    assert options(tmp_path / "own", first, dependency="afterok:7")["dependency"] == "afterok:7"


def test_a_later_attempt_waits_for_nothing(tmp_path: Path, first: RunDir) -> None:
    assert "dependency" not in options(tmp_path, first, 2)
    assert "dependency" not in options(tmp_path / "own", first, 2, dependency="afterok:7")
