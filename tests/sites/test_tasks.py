"""Array tasks as sites have them: environments that are activated, clocks of their own, runs inside of other jobs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import launcher.results
from jobs.storage.attempts import Attempts
from tests.support.launcher_runs import ROOT, command, environment
from tests.support.slurm_fixtures import BringUp
from tests.support.slurm_runs import SlurmRun

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("sites")]

_CONDA = """\
conda() {
    [ "$1 $2" = "activate launcher" ] && { export CONDA_DEFAULT_ENV=launcher; return 0; }
    [ "$1" = activate ] && { echo "Could not find conda environment: $2" >&2; return 1; }
    command conda "$@"
}
"""


def program(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{body}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for programs of the site."""
    return tmp_path / "bin"


def conda(programs: Path) -> None:
    """A conda with one environment, launcher."""
    program(programs, "conda", f'[ "$1 $2" = "info --base" ] && echo {programs}/base')
    program(programs, "python", f'exec {sys.executable} "$@"')
    script = programs / "base/etc/profile.d/conda.sh"
    script.parent.mkdir(parents=True)
    script.write_text(_CONDA)


def test_the_conda_environment_is_launcher_unless_another_is_named(
    site: BringUp, tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = site("no-accounting")
    conda(programs)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.delenv("CONDA_DEFAULT_ENV", raising=False)
    toy = SlurmRun(
        cluster, tmp_path, "tests.example_jobs.placed_jobs:Variables", {"names": ["CONDA_DEFAULT_ENV", "ENVIRONMENT"]},
        options={"template": "conda"}, rows=8, shards=1,
    )  # fmt: skip
    toy.submit()
    assert toy.end()["state"] == "complete"
    with launcher.results.open(toy.run.result) as found:
        assert set(found["values"]) == {"launcher BATCH"}  # ENVIRONMENT is Slurm's, in all batch jobs


@pytest.mark.thorough
@pytest.mark.parametrize("template", ["conda", "modules"])
def test_a_task_whose_environment_cannot_be_activated_fails_and_says_so(
    site: BringUp, tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    cluster = site("no-accounting")
    conda(programs)
    program(programs, "module", '[ "$1" = purge ] || { echo "Lmod: unknown module: ${*: -1}" >&2; exit 1; }')
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("CONDA_ENVIRONMENT", "gone")
    toy = SlurmRun(cluster, tmp_path, "Toy", options={"template": template}, rows=8, shards=1, retry={"attempts": 1})
    toy.submit()
    found = toy.end()
    assert (found["state"], found["samples"]["ok"]) == ("failed", 0)
    told = {"conda": "Could not find conda environment: gone", "modules": "unknown module: cuda"}[template]
    assert told in found["failures"][0]["message"]


def test_a_nodes_clock_does_not_matter(site: BringUp, tmp_path: Path) -> None:
    ahead = tmp_path / "ahead"
    ahead.mkdir()
    (ahead / "sitecustomize.py").write_text(
        "import time\n_time, _ns = time.time, time.time_ns\n"
        "time.time, time.time_ns = lambda: _time() + 30, lambda: _ns() + 30 * 10**9\n"
    )
    toy = SlurmRun(site("no-accounting"), tmp_path, "Toy")
    assert toy.launcher("plan", toy.config.name).returncode == 0
    for index in range(2):
        words = [sys.executable, "-P", "-m", "jobs", str(toy.run.path), "1", str(index)]
        path = f"{ahead}{os.pathsep}{ROOT}"
        subprocess.run(words, env={**environment(), "PYTHONPATH": path}, check=True, capture_output=True)
    assert toy.launcher("gather", toy.run.path).returncode == 0
    assert toy.status()["state"] == "complete"


def test_a_local_run_inside_a_job_that_slurm_ends_goes_on_where_it_was(site: BringUp, tmp_path: Path) -> None:
    cluster = site("no-accounting")
    toy = SlurmRun(cluster, tmp_path, "Toy", {"delay": 0.2}, node={"workers": 0, "processes": 1})
    words = " ".join(map(str, command("run", toy.config, "--set", "executor=local")))
    options = ("--parsable", "--cpus-per-task=4", "--mem=3G", f"--output={tmp_path}/own.log", f"--chdir={tmp_path}")
    job = cluster.run("sbatch", *options, f"--wrap=PYTHONPATH={ROOT} exec {words}").strip()
    toy.wait(lambda: toy.run.path.exists() and any(attempt.beat.done for attempt in Attempts(toy.run).read()))
    cluster.run("scancel", job)
    toy.wait(lambda: not cluster.run("squeue", "--noheader"))
    assert {attempt.beat.end for attempt in Attempts(toy.run).read()} == {"stopped"}
    assert toy.launcher("run", toy.config, "--set", "executor=local").returncode == 0
    assert toy.status()["state"] == "complete"
    assert toy.closed_twice() == 0  # what was durable then is not done again
