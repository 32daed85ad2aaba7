"""Modules of one name: the user's, another project's, Python's and ours. Each works, or the one in the way is named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import results
from tests.support.launcher_runs import ROOT, environment, launcher, write_config
from tests.support.patience import PATIENCE

DOUBLES = """
from jobs import Job

class Mine(Job):
    def load(self, sample):
        return sample["x"]

    def process(self, batch):
        return {"y": batch * 2}
"""

INSTALLED_COMMAND = "import sys, shardrun; sys.argv = ['launcher', 'list']; sys.exit(shardrun.main())"
"""What the script in an environment's bin folder does."""


def with_module(folder: Path, name: str, text: str = DOUBLES) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(arguments: list[str], folder: Path, python_path: str = str(ROOT)) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment() | {"PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_a_job_in_a_folder_jobs_beside_the_config_is_run(tmp_path: Path) -> None:
    with_module(tmp_path, "jobs/mine.py", f"from jobs.helper import TWO\n{DOUBLES.replace('* 2', '* TWO')}")
    with_module(tmp_path, "jobs/helper.py", "TWO = 2\n")
    write_config(tmp_path, rows=12, shards=1, job="jobs.mine:Mine")
    done = launcher(tmp_path, "run", "config.yaml")
    assert done.returncode == 0, done.stderr
    with results.open(tmp_path / "runs" / "toy") as found:
        assert found["y"].tolist() == [row * 2 for row in range(12)]


def test_our_own_modules_come_before_those_of_a_folder_jobs(tmp_path: Path) -> None:
    with_module(tmp_path, "jobs/command.py")
    write_config(tmp_path, job="jobs.command:Mine")
    done = launcher(tmp_path, "plan", "config.yaml")
    assert done.returncode == 2
    assert f"{ROOT / 'jobs' / 'command.py'} has that name, comes first on Python's path" in done.stderr
    assert f"hides {tmp_path / 'jobs' / 'command.py'}: rename yours" in done.stderr


@pytest.mark.parametrize("file", ["test.py", "code.py", "queue.py", "queue/inner.py", "launcher.py", "jobs.py"])
def test_a_module_that_another_hides_is_told_with_the_file_of_the_other(tmp_path: Path, file: str) -> None:
    module = file.removesuffix(".py").replace("/", ".")
    with_module(tmp_path, file)
    write_config(tmp_path, job=f"{module}:Mine")
    done = launcher(tmp_path, "plan", "config.yaml")
    assert done.returncode == 2
    top = module.partition(".")[0]
    found = sys.modules.get(top) or __import__(top)
    assert f"{found.__file__} has that name" in done.stderr
    assert f"hides {tmp_path / file}: rename yours" in done.stderr


def test_a_module_that_raises_is_not_said_to_be_hidden(tmp_path: Path) -> None:
    with_module(tmp_path, "raising.py", "1 / 0\n")
    write_config(tmp_path, job="raising:Mine")
    done = launcher(tmp_path, "plan", "config.yaml")
    assert f"(ZeroDivisionError: division by zero), at {tmp_path / 'raising.py'}:1\n" in done.stderr


def test_beside_the_config_a_module_launcher_does_not_disturb_ours(tmp_path: Path) -> None:
    for name in ("launcher.py", "jobs.py", "shardrun.py", "mine.py"):
        with_module(tmp_path, name, DOUBLES if name == "mine.py" else "raise RuntimeError('not ours')\n")
    write_config(tmp_path, rows=4, shards=1, job="mine:Mine")
    assert launcher(tmp_path, "run", "config.yaml").returncode == 0


@pytest.mark.parametrize("name", ["jobs", "launcher"])
def test_another_project_on_the_python_path_is_named_by_the_command(tmp_path: Path, name: str) -> None:
    with_module(tmp_path, f"other/{name}/__init__.py", "x = 1\n")
    path = f"{tmp_path / 'other'}:{ROOT}"
    done = run(["-P", "-c", INSTALLED_COMMAND], tmp_path, path)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        f"launcher: {name}: {tmp_path}/other/{name}/__init__.py comes first on Python's path and hides" in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_with_json_there_is_a_document_also_where_ours_is_hidden(tmp_path: Path) -> None:
    with_module(tmp_path, "other/jobs/__init__.py", "x = 1\n")
    done = run(
        ["-P", "-c", INSTALLED_COMMAND.replace("'list'", "'list', '--json'")], tmp_path, f"{tmp_path / 'other'}:{ROOT}"
    )
    assert done.returncode == 2
    assert "hides the package of that name" in json.loads(done.stdout)["error"]


def test_the_distribution_is_a_command_for_python_too(tmp_path: Path) -> None:
    done = run(["-P", "-m", "shardrun", "list", "nowhere"], tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere: no such folder" in done.stderr


def test_the_command_works_in_a_folder_with_packages_of_these_names(tmp_path: Path) -> None:
    with_module(tmp_path, "jobs/__init__.py", "x = 1\n")
    done = run(["-m", "launcher", "list"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_results_in_a_script_beside_a_package_jobs_say_what_hides_ours(tmp_path: Path) -> None:
    with_module(tmp_path, "jobs/__init__.py", "x = 1\n")
    with_module(tmp_path, "script.py", "from launcher import results\n")
    done = run(["script.py"], tmp_path)
    assert done.stderr.splitlines()[-1].startswith(f"ImportError: jobs: {tmp_path}/jobs/__init__.py comes first")
