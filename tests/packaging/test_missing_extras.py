"""Environments that lack the packages of an extra: everything else works, and what needs them says how to install them."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import launcher.catalogue.catalogue as catalogue
from jobs.errors import InputError
from jobs.extras import PACKAGES, how_to_install
from launcher import results
from tests.support.launcher_runs import ROOT, document, launcher, run_of, status, write_config

per_extra = pytest.mark.parametrize("extra", PACKAGES)
NEEDS = {
    "jobs.audio_embedding:AudioEmbedding": "audio",
    "jobs.command:Command": None,
    "jobs.download:Download": "download",
    "jobs.function:AsyncFunction": None,
    "jobs.function:Function": None,
    "jobs.image_embedding:ImageEmbedding": "image",
    "jobs.text_embedding:TextEmbedding": "text",
    "jobs.text_generation:TextGeneration": "generation",
    "jobs.thumbnails:Thumbnails": "thumbnails",
}


HIDES = """
from importlib.machinery import PathFinder

found = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name in HIDDEN else found(name, *rest)
"""
"""What sitecustomize.py does in commands: the path has no such packages."""

Without = Callable[..., None]


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Without:
    """Makes packages look as if they were not installed, in this process and in the commands that it starts."""

    def hide(*packages: str) -> None:
        (tmp_path / "hidden").mkdir()
        (tmp_path / "hidden" / "sitecustomize.py").write_text(f"HIDDEN = {packages!r}\n{HIDES}")
        put_on_path(monkeypatch, tmp_path / "hidden")
        for name in packages:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


def put_on_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Of the commands that a test starts."""
    monkeypatch.setattr(
        "tests.support.launcher_runs.environment", lambda: {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
    )


@per_extra
def test_jobs_are_listed_without_the_packages_of_an_extra(tmp_path: Path, without: Without, extra: str) -> None:
    pytest.importorskip("torch")  # or more is missing than what is hidden
    without(*PACKAGES[extra])
    done = launcher(tmp_path, "jobs", "--json")
    assert done.returncode == 0, done.stderr
    listed = {entry["job"]: entry for entry in document(done)["jobs"]}
    assert listed.keys() == NEEDS.keys()
    for job, needed in NEEDS.items():
        lacks = needed and set(PACKAGES[needed]) & set(PACKAGES[extra])
        assert listed[job]["to_install"] == (how_to_install(needed) if needed and lacks else None)
        assert listed[job]["problem"] is None
        assert listed[job]["parameters"]


def test_a_config_can_be_written_for_a_job_whose_extra_is_missing(tmp_path: Path, without: Without) -> None:
    without("httpx2", "torch", "soundfile", "soxr", "PIL", "transformers", "pandas")
    assert launcher(tmp_path, "init", "Command").returncode == 0
    done = launcher(tmp_path, "init", "Download", "download.yaml")
    assert done.returncode == 0, done.stderr
    assert f"first: {how_to_install('download')}" in done.stdout
    (tmp_path / "samples.csv").write_text("url\nhttp://localhost/a\n")
    done = launcher(tmp_path, "plan", "download.yaml", "--set", "job.params.folder=files")
    assert done.returncode == 2
    assert f"Download needs httpx2: {how_to_install('download')}" in done.stderr


def test_a_job_that_imports_torch_is_refused_at_planning_with_what_brings_it(tmp_path: Path, without: Without) -> None:
    without("torch")
    (tmp_path / "eager.py").write_text("import torch\n")
    write_config(tmp_path, job="eager:Mine")
    done = launcher(tmp_path, "plan", "config.yaml")
    assert done.returncode == 2
    assert f"torch comes with {how_to_install('torch')}" in done.stderr


def test_a_job_that_imports_torch_late_fails_with_what_brings_it(tmp_path: Path, without: Without) -> None:
    without("torch")
    (tmp_path / "late.py").write_text(
        "from jobs import Job\n\n\nclass Mine(Job):\n    def setup(self, context):\n        import torch\n\n"
        "    def process(self, batch): ...\n"
    )
    config = write_config(tmp_path, rows=4, shards=1, job="late:Mine")
    assert launcher(tmp_path, "run", "config.yaml").returncode == 1
    (failure,) = status(tmp_path, run_of(config))["failures"]
    assert failure["kind"] == "ERROR"
    assert f"torch comes with {how_to_install('torch')}" in failure["message"]


def test_a_result_is_read_without_pandas(tmp_path: Path, without: Without) -> None:
    config = write_config(tmp_path, rows=4, shards=1)
    assert launcher(tmp_path, "run", config.name).returncode == 0
    without("pandas")
    with results.open(run_of(config).path) as found:
        assert len(found["y"]) == 4
        assert [len(block["id"]) for block in found.blocks()] == [4]
        with pytest.raises(InputError, match=re.escape(f"a table needs pandas: {how_to_install('pandas')}")):
            found.to_pandas()
        with pytest.raises(InputError, match="a table needs pandas"):
            _ = found.errors


# --- Jobs of other packages


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with two Jobs, one of which cannot be imported; on the path of this process and of commands."""
    site = tmp_path / "site"
    info = site / "voices-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: voices\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(
        "[launcher.jobs]\npitch = voices.pitch:Pitch\nbroken = voices.broken:Broken\n"
        "leaves = voices.leaves:Leaves\nodd = voices.odd:Odd\ninner = voices.pitch:Voice.Inner [audio]\nmodule = voices\n"
        "loud = voices.pitch:Voice.Inner\nvoices = voices.broken:Loud\n"
    )
    (site / "voices").mkdir()
    (site / "voices" / "__init__.py").touch()
    (site / "voices" / "pitch.py").write_text(
        '"""Pitch: how high a voice is."""\nfrom jobs import Job\n\n\nclass Pitch(Job):\n'
        "    def __init__(self, low: float = 50.0) -> None: ...\n"
    )
    with (site / "voices" / "pitch.py").open("a") as file:
        file.write("\n\nclass Voice:\n    class Inner(Job):\n        pass\n")
    (site / "voices" / "broken.py").write_text("import no_such_package\n")
    (site / "voices" / "leaves.py").write_text("import sys\nsys.exit(4)\n")
    (site / "voices" / "odd.py").write_text(
        "from jobs import Job\n\nclass Odd(Job):\n    def __init__(self, x: '1/0' = b'\\xff') -> None: ...\n"
    )
    put_on_path(monkeypatch, site)
    monkeypatch.syspath_prepend(site)
    return tmp_path


def test_jobs_of_other_packages_are_listed_and_one_that_is_broken_takes_no_others_along(other_package: Path) -> None:
    shown = launcher(other_package, "jobs")
    assert shown.returncode == 0, shown.stderr
    assert "voices.pitch:Pitch  (of the package voices)\n  Pitch: how high a voice is.\n  low (float" in shown.stdout
    assert "No module named 'no_such_package'" in shown.stdout
    listed = {entry["job"]: entry for entry in document(launcher(other_package, "jobs", "--json"))["jobs"]}
    assert listed["voices.pitch:Pitch"]["package"] == "voices"
    assert "no_such_package" in listed["voices.broken:Broken"]["problem"]
    assert listed["voices.broken:Broken"]["parameters"] == []
    assert "broken.py:1" in listed["voices.broken:Broken"]["problem"]
    assert "calls sys.exit(4)" in listed["voices.leaves:Leaves"]["problem"]
    assert "its parameters cannot be read" in listed["voices.odd:Odd"]["problem"]
    assert listed["voices.pitch:Voice.Inner"]["problem"] is None
    assert listed["jobs.command:Command"]["package"] == "shardrun"


def test_a_job_of_another_package_is_found_by_its_name_and_gets_a_config(other_package: Path) -> None:
    done = launcher(other_package, "init", "pitch")
    assert done.returncode == 0, done.stderr
    assert "class: voices.pitch:Pitch" in (other_package / "config.yaml").read_text()


def test_the_name_that_a_package_gives_its_job_goes_before_the_name_of_a_class(other_package: Path) -> None:
    assert catalogue.find("loud", other_package).path == "voices.pitch:Voice.Inner"
    assert catalogue.find("voices.pitch:Pitch", other_package).package == "voices"


def test_an_unknown_job_names_those_of_other_packages_too(other_package: Path) -> None:
    with pytest.raises(
        InputError, match=r"did you mean voices\.pitch:Pitch\?.*; of other packages: voices\.broken:Broken, "
    ):
        catalogue.find("pich", other_package)
    with pytest.raises(InputError, match="No module named 'no_such_package'"):
        catalogue.find("broken", other_package)


def test_entry_points_are_read_only_when_jobs_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(group: str) -> None:
        raise AssertionError(f"{group} was read")

    monkeypatch.setattr(catalogue, "entry_points", refuse)
    assert catalogue.find("jobs.command:Command", tmp_path).cls.__name__ == "Command"
    with pytest.raises(AssertionError, match=r"launcher\.jobs was read"):
        catalogue.find("command", tmp_path)
