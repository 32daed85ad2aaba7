"""Runs, and their projects, that were copied, moved, or belong to somebody else."""

import multiprocessing
import os
import shutil
import tempfile
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from jobs.errors import RunError
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.rundir import RunDir
from launcher.local.local_executor import LocalExecutor
from tests.support.builders import build_plan
from tests.support.launcher_runs import in_process, launcher, newest, run_of, status, wait_until, write_config
from tests.support.patience import PATIENCE
from tests.support.task_runs import done_rows

JOB = """
import pathlib
from jobs import Job

class Mine(Job):
    def process(self, batch):
        pathlib.Path("here").touch()
        return {"x": batch["x"]}
"""


def test_a_copy_of_a_run_that_goes_on_is_another_run(tmp_path: Path) -> None:
    config = write_config(tmp_path, rows=4000, shards=2, params={"wait": 1.0})
    run, copy = run_of(config), RunDir(tmp_path / "runs/copy")
    assert launcher(tmp_path, "submit", config).returncode == 0
    wait_until(lambda: done_rows(run).count)
    shutil.copytree(run.path, copy.path)
    assert status(tmp_path, copy)["state"] != "running"
    assert "nothing of" in launcher(tmp_path, "cancel", copy.path).stdout
    link = tmp_path / "link"
    link.symlink_to(run.path)
    for path in (run, RunDir(link)):  # by another path it is the same one
        assert status(tmp_path, path)["state"] == "running"
    assert launcher(tmp_path, "rerun", copy.path).returncode == 0
    assert status(tmp_path, copy)["state"] == "running"
    assert "cancelled" in launcher(tmp_path, "cancel", run.path).stdout
    assert status(tmp_path, copy)["state"] == "running"
    assert "cancelled" in launcher(tmp_path, "cancel", copy.path).stdout


def test_a_project_that_was_moved_goes_on_where_it_is_now(tmp_path: Path) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    config = write_config(before, rows=20, shards=2, job="mine_moved:Mine")
    (before / "mine_moved.py").write_text(JOB)
    assert launcher(before, "plan", config).returncode == 0
    before.rename(now)
    for command in ("rerun", "try"):
        refused = in_process(now, command, "toy")
        assert refused.returncode == 2
        assert f"{before}: the folder that runs/toy was planned from is gone" in refused.stderr
    done = launcher(now, "run", "config.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (now / "here").exists()
    assert launcher(now, "rerun", "toy").returncode == 0


def test_a_file_beside_the_submissions_is_none(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", [0, 8])
    for name in ("0001 (copy).json", "0001.old.json", "1.json", "00001.json", "²²²².json"):
        shutil.copy(run.submission(1), run.submissions / name)
    assert run.submission_numbers() == [1]


def _cancel_as_nobody(run: RunDir, said: Connection) -> None:
    os.setuid(65534)
    try:
        LocalExecutor().cancel(run, newest(run))
    except RunError as error:
        said.send(str(error))
    said.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_users_local_run_is_not_cancelled_and_it_says_whose_it_is() -> None:
    with tempfile.TemporaryDirectory() as folder:  # others may look into it, unlike pytest's
        os.chmod(folder, 0o755)
        run = build_plan(Path(folder) / "run", [0, 8])
        mine = replace(newest(run), process=ProcessIdentity.current().to_json(), owner="ada")
        mine.write(run.submission(1))
        heard, said = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.get_context("fork").Process(target=_cancel_as_nobody, args=(run, said))
        child.start()
        child.join(PATIENCE)
        assert heard.poll()
        assert f"process {os.getpid()} is ada's" in heard.recv()
