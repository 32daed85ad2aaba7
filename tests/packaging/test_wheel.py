"""What people get: the wheel, installed without any extra into an environment of its own, with no repository in sight."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.launcher_runs import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel"), pytest.mark.timeout(900)]

# An environment of 320 MB, where torch would make it 1.1 GB, and with CUDA more than 5 GB.
LARGEST = 400 << 20

JOB = """\
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from jobs import Context, Job, Sample


class Doubled(Job):
    def __init__(self, factor: int = 2) -> None:
        self.factor = factor

    def setup(self, context: Context) -> None:
        self.device: str = context.device

    def load(self, sample: Sample) -> float:
        return float(sample["x"]) + 0 * sample.index

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {"y": batch * self.factor, "torch": np.full(len(batch), "torch" in sys.modules)}


class FromAnyMapping(Job):
    async def load(self, sample: Mapping[str, Any]) -> float:
        return float(sample["x"])
"""

SCRIPT = """\
from typing import Any

import launcher
from jobs import Context, Hierarchy, Job
from jobs.errors import SampleFailed
from launcher import results
from my_job import Doubled


def doubled(number: int) -> int:
    return number * 2


class Halved(Job):
    def setup(self, context: Context) -> None:
        self.factor = 0.5

    def load(self, number: int) -> int:
        return number

    def process(self, batch: Any) -> dict[str, Any]:
        return {"half": batch * self.factor}


if __name__ == "__main__":
    with Hierarchy(doubled, workers=2) as workers:
        print(workers.map(range(4)))
        for found in workers.imap(range(2), on_error="return"):
            if isinstance(found, SampleFailed):
                print(found.kind, found.index)
    with Hierarchy(Halved(), devices=["cpu"], workers=1) as model:
        print([float(found["half"]) for found in model.map([1, 2])])
    with results.open("toy") as result:
        print(len(result), result.ids[:2].tolist(), result["y"].tolist(), result["torch"].any())
    run: launcher.Run = launcher.plan(Doubled(factor=3), [{"x": 1}], name="tripled", executor="local")
    tried: bool = launcher.open(run.path).try_(1).is_good
    rows: list[int] = [error.row for error in run.errors()]
    missing: int = run.status().missing
    print(run.name, tried, rows, missing)
"""

WRONG = {
    "import launcher\n\nlauncher.plan(1, [1], names='a')\n": 'Missing named argument "name" for "plan"',
    "import launcher\n\nlauncher.open('toy').submit().shard\n": '"Started" has no attribute "shard"',
    "from jobs import Jobb\n": 'Module "jobs" has no attribute "Jobb"',
    "from launcher import result\n": 'Module "launcher" has no attribute "result"',
    "from jobs import Context, Job\n\n\nclass A(Job):\n    def setup(self, context: Context) -> None:\n"
    "        print(context.gpu)\n": '"Context" has no attribute "gpu"',
    "from jobs import Job\n\n\nclass B(Job):\n    def setup(self) -> None: ...\n": 'incompatible with supertype "jobs.job.Job"',
    "from jobs import Hierarchy\n\nHierarchy(len, worker=2)\n": 'Unexpected keyword argument "worker"',
    "from launcher import results\n\nresults.open('toy', manifests='train')\n": 'Unexpected keyword argument "manifests"',
}
"""Scripts with a mistake each, and what mypy says of it."""


def bare() -> dict[str, str]:
    """The environment without what would lead to the repository, or to another Python."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


def call(*arguments: object, folder: Path) -> str:
    """What a command prints; fails with all that it said where it fails."""
    done = subprocess.run(
        list(map(str, arguments)), cwd=folder, env=bare(), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, folder=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment with the wheel and what it cannot do without."""
    folder = tmp_path_factory.mktemp("environment")
    call(sys.executable, "-m", "venv", "--without-pip", folder / "venv", folder=folder)
    found = folder / "venv" / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    pip = [sys.executable, "-m", "pip", "--python", found, "install", "--quiet", "--no-compile"]
    call(*pip, wheel, "-c", constraints, folder=folder)
    return found


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder with a user's Job, script, and config."""
    (tmp_path / "my_job.py").write_text(JOB)
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "data.csv").write_text("x\n1\n2\n3\n")
    config = {
        "name": "toy",
        "job": {"class": "my_job:Doubled"},
        "data": {"manifest": "data.csv", "shards": 2},
        "executor": "local",
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    return tmp_path


def mypy(python: Path, folder: Path, *files: str) -> "subprocess.CompletedProcess[str]":
    options = ["--strict", "--python-executable", str(python), "--cache-dir", str(python.parents[2] / "types")]
    command = [sys.executable, "-m", "mypy", *options, *files]
    return subprocess.run(command, cwd=folder, env=bare(), capture_output=True, text=True, timeout=300, check=False)


def test_the_wheel_has_the_packages_their_types_and_templates_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"jobs/py.typed", "launcher/py.typed", "slurm_templates/cpu.sbatch", "shardrun.py"} <= set(names)
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        "jobs", "launcher", "slurm_templates", "shardrun.py"
    }  # fmt: skip


@pytest.mark.thorough
def test_a_users_job_and_script_pass_a_strict_type_check(python: Path, scripts: Path) -> None:
    done = mypy(python, scripts, "my_job.py", "script.py")
    assert done.stdout == "Success: no issues found in 2 source files\n"


@pytest.mark.thorough
def test_mistakes_of_a_user_are_found_by_a_type_check(python: Path, scripts: Path) -> None:
    names = [f"wrong{number}.py" for number in range(len(WRONG))]
    for name, text in zip(names, WRONG, strict=True):
        (scripts / name).write_text(text)
    said = mypy(python, scripts, *names).stdout
    for name, message in zip(names, WRONG.values(), strict=True):
        assert any(line.startswith(name) and message in line for line in said.splitlines()), f"{name}: {said}"


def test_without_torch_jobs_run_and_a_hierarchy_too(python: Path, scripts: Path) -> None:
    launcher = python.parent / "launcher"
    call(launcher, "run", "config.yaml", folder=scripts)
    assert "complete: 3 of 3" in call(launcher, "status", "toy", folder=scripts)
    (scripts / "runs" / "toy" / "result.h5").unlink()
    call(launcher, "gather", "toy", folder=scripts)
    call(launcher, "verify", "toy", folder=scripts)
    lines = call(python, "script.py", folder=scripts).splitlines()
    assert lines[:3] == ["[0, 2, 4, 6]", "[0.5, 1.0]", "3 [0, 1] [2.0, 4.0, 6.0] False"]
    assert lines[-1] == "tripled True [] 1"
    call(python, "-c", "import importlib.util as u; assert not u.find_spec('torch')", folder=scripts)


def test_without_extras_the_jobs_are_listed_with_what_to_install(python: Path, scripts: Path) -> None:
    shown = call(python.parent / "launcher", "jobs", "--json", folder=scripts)
    listed = {entry["job"].partition(":")[2]: entry["to_install"] for entry in json.loads(shown)["jobs"]}
    assert listed == {
        "AudioEmbedding": "pip install 'shardrun[audio]'",
        "Command": None,
        "Download": "pip install 'shardrun[download]'",
        "AsyncFunction": None,
        "Function": None,
        "ImageEmbedding": "pip install 'shardrun[image]'",
        "TextEmbedding": "pip install 'shardrun[text]'",
        "TextGeneration": "pip install 'shardrun[generation]'",
        "Thumbnails": "pip install 'shardrun[thumbnails]'",
    }
    (scripts / "config.yaml").unlink()
    said = call(python.parent / "launcher", "init", "text_embedding", folder=scripts)
    assert "first: pip install 'shardrun[text]'" in said
    assert "class: jobs.text_embedding:TextEmbedding" in (scripts / "config.yaml").read_text()


def test_the_environment_is_small(python: Path) -> None:
    files = [Path(folder, name) for folder, _, names in os.walk(python.parents[1]) for name in names]
    assert sum(file.stat().st_size for file in files if not file.is_symlink()) < LARGEST


def test_the_command_tells_the_version_of_the_wheel(python: Path, wheel: Path, tmp_path: Path) -> None:
    said = call(python.parent / "launcher", "--version", folder=tmp_path)
    assert wheel.name.startswith(f"shardrun-{said.split()[1]}-py3")
