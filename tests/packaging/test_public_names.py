"""What users import, and what the distribution says of itself."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import jobs
import launcher
from jobs.extras import DISTRIBUTION, PACKAGES
from tests.support.launcher_runs import ROOT, environment

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NAMES_OF_DISTRIBUTIONS = {
    "kaldi_native_fbank": "kaldi-native-fbank",
    "PIL": "pillow",
    "lance": "pylance",
    "vl_convert": "vl-convert-python",
}
"""Of imports that are called differently."""


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a new interpreter has after some code."""
    program = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_packages_takes_nothing() -> None:
    heavy = {"numpy", "h5py", "pyarrow", "torch", "pandas", "pydantic", "yaml", "rich", "argparse", "multiprocessing"}
    assert loaded_by("import jobs, launcher") & heavy == set()


@pytest.mark.parametrize("name", jobs.__all__)
def test_what_the_package_of_jobs_names_is_there_and_takes_no_torch(name: str) -> None:
    assert loaded_by(f"from jobs import {name}") & {"torch", "pandas", "h5py"} == set()
    assert name in {"Context", "Hierarchy", "Job", "Sample"}


def test_the_job_of_the_package_is_the_job_of_its_module() -> None:
    from jobs.hierarchy import Hierarchy
    from jobs.job import Context, Job

    assert (jobs.Job, jobs.Context, jobs.Hierarchy) == (Job, Context, Hierarchy)
    assert launcher.results.open.__module__ == "launcher.results"


@pytest.mark.parametrize("package", ["jobs", "launcher"])
def test_a_name_that_is_not_there_is_an_attribute_error(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"from {package} import Nonsense"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1].startswith(f"ImportError: cannot import name 'Nonsense' from '{package}'")


@pytest.mark.parametrize(
    "module", ["jobs", "jobs.errors", "jobs.hierarchy", "jobs.job", "launcher", "launcher.results"]
)
def test_a_public_module_says_what_is_public(module: str) -> None:
    found = sys.modules.get(module) or __import__(module, fromlist=["x"])
    assert sorted(found.__all__, key=str.casefold) == sorted(set(found.__all__), key=str.casefold)
    assert all(hasattr(found, name) for name in found.__all__)


@pytest.mark.parametrize("package", [jobs, launcher])
def test_type_checkers_are_told_that_there_are_types(package: object) -> None:
    assert (Path(str(package.__file__)).parent / "py.typed").is_file()  # type: ignore[attr-defined]


def test_there_is_one_version_in_one_place() -> None:
    assert PROJECT["dynamic"] == ["version"]
    for name in ("pyproject.toml", "CITATION.cff"):
        assert not re.search(r"^version\b", (ROOT / name).read_text(), re.MULTILINE)


def brought(extra: str) -> set[str]:
    """What it installs, by itself and by the extras that it names."""
    found: set[str] = set()
    for wanted in EXTRAS[extra]:
        another = re.fullmatch(rf"{DISTRIBUTION}\[(\w+)\]", wanted)
        found |= brought(another[1]) if another else {re.split(r"[<>=]", wanted)[0]}
    return found


def test_the_extras_of_the_code_are_those_of_the_project() -> None:
    for extra, packages in PACKAGES.items():
        assert {NAMES_OF_DISTRIBUTIONS.get(name, name) for name in packages} == brought(extra)


def test_nothing_tells_people_to_install_another_project() -> None:
    assert PROJECT["name"] == DISTRIBUTION
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "Makefile", ROOT / "pyproject.toml"]
    for path in [*texts, *(found for name in ("jobs", "launcher") for found in (ROOT / name).rglob("*.py"))]:
        assert not re.search(r"launcher\[\w|pip install '?launcher\b", path.read_text()), path


@pytest.mark.parametrize("name", ["torch", "pandas", "submitit", "transformers", "soundfile", "pillow", "httpx2"])
def test_a_plain_install_brings_none_of(name: str) -> None:
    assert name not in {re.split(r"[\[<>=]", wanted)[0] for wanted in PROJECT["dependencies"]}
