"""Runs that older versions planned and left half done: this version tells of them what theirs told, and goes on with them.

`version-0.1.0` holds what version 0.1.0 left in /tmp/launcher-0.1 on the host login1: a run that was cancelled, one whose
processes were all killed, one that is done, and one of Slurm that was cancelled after a retry. Its files are never
written again; a copy has the paths and the host of where it is now.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jobs.machine.process_identity import host_name
from jobs.storage.attempts import Attempt, Attempts
from jobs.storage.rundir import RunDir
from jobs.storage.spans import union
from launcher import results
from launcher.status.reader import StatusReader
from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import datasets, environment, in_process, launcher, status, wait_until
from tests.support.patience import PATIENCE
from tests.support.slurm_runs import use_cluster

VERSION = Path(__file__).parent / "version-0.1.0"
FAILED_ROWS = [12, 25, 38, 51]
TOLD = {
    "cancelled": "cancelled  cancelled: 30 ok, 2 failed, 28 missing of 60 samples, shards 2 done, 3 pending",
    "killed": "killed  incomplete: 26 ok, 2 failed, 32 missing of 60 samples, shards 2 done, 3 pending",
    "done": "done  complete, 4 of 60 samples failed, shards 5 done",
    "slurm": "slurm  cancelled: 29 ok, 3 failed, 28 missing of 60 samples, shards 2 done, 3 pending",
}
"""What its own version said of each run."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder with configs, Job and runs, as if it had been here all the time."""
    folder = tmp_path / "old"
    shutil.copytree(VERSION, folder)
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".yaml", ".sbatch"):
            text = path.read_text().replace("/tmp/launcher-0.1", str(folder))
            path.write_text(text.replace('"host": "login1"', f'"host": "{host_name()}"'))
            os.utime(path, (1.6e9, 1.6e9))  # nobody has given a sign of life since
    return folder


def run_of(old: Path, name: str) -> RunDir:
    return RunDir(old / "runs" / name)


def attempts(run: RunDir) -> list[Attempt]:
    return Attempts(run).read()


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Rows that failed are NaN in both."""
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], name)


def assert_gathered(old: Path, name: str) -> None:
    """The run has the result of the one that nothing happened to, and its files are as their journals say."""
    assert_same(datasets(run_of(old, name).result), datasets(run_of(old, "done").result))
    verified = launcher(old, "verify", name)
    assert verified.returncode == 0, verified.stderr
    assert "0 damaged" in verified.stdout


def assert_computed_once(run: RunDir, before: list[Attempt]) -> None:
    """What was committed stayed, and attempts since then computed what was missing and nothing else."""
    after = attempts(run)
    old, new = after[: len(before)], after[len(before) :]
    assert [(one.name, one.beat.done) for one in old] == [(one.name, one.beat.done) for one in before]
    assert union(one.beat.done for one in after).count == 60
    done = union(one.beat.done for one in before)
    assert sum(one.beat.ok + one.beat.failed for one in new) == 60 - done.count


@pytest.mark.parametrize("name", TOLD)
def test_status_says_what_its_own_version_said(old: Path, name: str) -> None:
    shown = in_process(old, "status", name)
    assert shown.returncode == (0 if name == "done" else 1)
    assert shown.stdout.replace(",\n  ", ", ").splitlines()[0] == TOLD[name]
    assert "LOAD" in shown.stdout
    assert "ValueError: 12 is unlucky" in shown.stdout


@pytest.mark.parametrize("name", TOLD)
def test_looking_at_a_run_leaves_it_as_it_is(old: Path, name: str) -> None:
    before = files(old / "runs")
    for command in (["status", name, "--shards"], ["logs", name, 1], ["list"], ["verify", name]):
        in_process(old, *command)
    assert files(old / "runs") == before


@pytest.mark.parametrize("name", TOLD)
def test_the_log_of_a_shard_is_found(old: Path, name: str) -> None:
    shown = in_process(old, "logs", name, 1)
    assert shown.stdout.startswith("shard 1, attempt 1: 12 of 12 samples to do")
    assert "ValueError: 12 is unlucky" in shown.stdout


def test_all_runs_are_listed(old: Path) -> None:
    shown = in_process(old, "list")
    assert {line.split()[0] for line in shown.stdout.splitlines()} >= TOLD.keys()


def test_a_result_is_read_and_verified(old: Path) -> None:
    done = run_of(old, "done")
    with results.open(done.path) as result:
        assert len(result) == 60
        assert sorted(result.errors["row"]) == FAILED_ROWS
    verified = in_process(old, "verify", "done")
    assert (verified.returncode, verified.stderr) == (0, "")
    assert "15 batches in 5 shards checked, 0 damaged" in verified.stdout


def test_a_run_is_read_in_place_as_its_result_is(old: Path) -> None:
    path = run_of(old, "done").path
    with results.open(path) as result, results.open(path, in_place=True) as stored:
        assert list(stored) == list(result)
        assert stored.to_pandas().equals(result.to_pandas())
        assert stored.errors.equals(result.errors)


def test_a_result_is_gathered_again_from_the_shards(old: Path) -> None:
    done = run_of(old, "done")
    before = datasets(done.result)
    done.result.unlink()
    assert launcher(old, "gather", "done").returncode == 0
    assert_same(datasets(done.result), before)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("cancelled", ["run", "cancelled.yaml"]),
        ("killed", ["run", "killed.yaml"]),
        ("slurm", ["run", "slurm.yaml", "--set", "executor=local"]),
    ],
)
def test_run_goes_on_where_its_own_version_stopped(old: Path, name: str, arguments: list[str]) -> None:
    run = run_of(old, name)
    before = attempts(run)
    done = launcher(old, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_computed_once(run, before)
    assert_gathered(old, name)


@pytest.mark.parametrize(
    ("name", "options"), [("cancelled", []), ("killed", []), ("slurm", ["--set", "executor=local"])]
)
def test_rerun_goes_on_where_its_own_version_stopped(old: Path, name: str, options: list[str]) -> None:
    run = run_of(old, name)
    before, numbers = attempts(run), run.submission_numbers()
    started = launcher(old, "rerun", name, *options)
    assert started.returncode == 0, started.stderr
    wait_until(lambda: StatusReader(run).read().state == "complete")
    assert run.submission_numbers() == [*numbers, len(numbers) + 1]
    assert_computed_once(run, before)
    assert_gathered(old, name)


def test_failed_samples_of_a_run_that_is_done_are_tried_again(old: Path) -> None:
    (old / "old_job.py").write_text((old / "old_job.py").read_text().replace("% 13 == 12", "< 0"))
    again = launcher(old, "rerun", "done", "--shards", "1-4")
    assert again.returncode == 0, again.stderr
    wait_until(lambda: StatusReader(run_of(old, "done")).read().ok == 60)
    assert status(old, run_of(old, "done"))["samples"] == {"total": 60, "ok": 60, "failed": 0, "missing": 0}


def test_the_plan_is_still_that_of_its_config(old: Path) -> None:
    planned = launcher(old, "plan", "done.yaml")
    assert planned.returncode == 0, planned.stderr
    refused = launcher(old, "plan", "done.yaml", "--set", "node.batch_size=5")
    assert refused.returncode == 2
    assert "node.batch_size: 4 -> 5" in refused.stderr


def what_it_starts(script: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    """Runs the command that a script ends in, with this Python."""
    (line,) = [line for line in script.read_text().splitlines() if line.startswith("exec ")]
    _, _, *words = shlex.split(line)
    return subprocess.run(
        [sys.executable, *words, *more],
        env=environment(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("script", ["0001.finalize.sbatch", "0002.finalize.sbatch"])
def test_the_finalize_job_of_its_script_still_starts_and_leaves_what_has_ended_alone(old: Path, script: str) -> None:
    submissions = run_of(old, "slurm").submissions
    before = {path.name: path.read_bytes() for path in submissions.iterdir()}
    done = what_it_starts(submissions / script)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name: path.read_bytes() for path in submissions.iterdir()} == before


def test_an_array_task_of_its_script_says_what_to_do_instead(old: Path) -> None:
    run = run_of(old, "slurm")
    before = files(run.path)
    done = what_it_starts(run.submissions / "0003.sbatch", "0")
    assert done.returncode == 2
    assert "launcher rerun" in done.stderr
    assert files(run.path) == before


@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
def test_a_run_of_slurm_goes_on_under_slurm(
    old: Path, clean_slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cluster(clean_slurm, monkeypatch)
    run = run_of(old, "slurm")
    before = attempts(run)
    started = launcher(old, "rerun", "slurm")
    assert started.returncode == 0, started.stderr
    wait_until(lambda: StatusReader(run).read().state != "running")
    assert StatusReader(run).read().state == "complete"
    assert run.submission_numbers() == [1, 2, 3, 4]
    assert_computed_once(run, before)
    assert_gathered(old, "slurm")


def test_a_run_that_is_done_is_extended_or_cleaned_as_any_other(old: Path) -> None:
    run = run_of(old, "done")
    before = files(run.path)
    assert launcher(old, "clean", "done", "--dry-run").returncode == 0
    assert files(run.path) == before
    with (old / "numbers.csv").open("a") as file:
        file.write("k60,60\n")
    shutil.copytree(run.path, old / "runs" / "other")
    assert "new: 1 sample" in launcher(old, "extend", "other").stdout
    assert "56 ok, 4 failed, 1 missing of 61 samples" in launcher(old, "status", "other").stdout
    cleaned = launcher(old, "clean", "done", "--yes")
    assert cleaned.returncode == 0, cleaned.stderr
    assert not [path for path in run.old_shards.iterdir() if path.suffix != ".journal"]
    assert launcher(old, "verify", "done").returncode == 0
    assert TOLD["done"] in launcher(old, "status", "done").stdout
    assert run.result.read_bytes() == before[run.result]
