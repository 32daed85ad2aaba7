"""Runs of one process: each is made of a module of its own, though all these have one name."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import launcher
from jobs import job_folder
from jobs.job import job_class
from jobs.storage.plans import Plan
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir

SETTINGS: dict[str, Any] = {"executor": "local", "node": {"workers": 0}}
JOB = """
from jobs import Job

class {name}(Job):
    def load(self, sample):
        return {value}, __file__

    def process(self, batch):
        return {{"y": batch[0]}}
"""


@pytest.fixture(autouse=True)
def python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What these tests import and put on the path goes again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(job_folder, "added", set())
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if name.startswith(("job_of_", "tools_of_", "more_of_")):
            del sys.modules[name]


def script(monkeypatch: pytest.MonkeyPatch, folder: Path, *texts: str) -> dict[str, Any]:
    """The names of a script that runs."""
    path = folder / "work.py"
    path.write_text("\n\n".join(texts))
    main = types.ModuleType("__main__")
    main.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec(compile(path.read_text(), str(path), "exec", dont_inherit=True), vars(main))
    return vars(main)


def loaded(run: launcher.Run) -> Any:
    """What the run's own class loads in this process now."""
    return job_class(Plan.read(RunDir(run.path).plan).job)().load({})[0]


def test_two_jobs_of_a_script_that_use_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = script(monkeypatch, tmp_path, JOB.format(name="J", value=1), JOB.format(name="K", value=2))
    first = launcher.plan(names["J"](), [{"x": 1}], name="first", **SETTINGS)
    second = launcher.plan(names["K"](), [{"x": 1}], name="second", **SETTINGS)
    assert (loaded(first), loaded(second), loaded(first)) == (1, 2, 1)


def test_a_class_that_is_changed_stays_what_it_was_in_the_run_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs = []
    for value in (1, 2):
        names = script(monkeypatch, tmp_path, JOB.format(name="J", value=value))
        runs.append(launcher.plan(names["J"](), [{"x": 1}], name=f"run{value}", **SETTINGS))
    assert [loaded(run) for run in (*runs, runs[0])] == [1, 2, 1]


@pytest.mark.parametrize("folder", ["a", "tools_of_test", "tools_of_test/tools_of_test", "a/"])
@pytest.mark.parametrize("file", ["tools_of_test.py", "tools_of_test/__init__.py"])
def test_a_folder_whose_module_makes_room_keeps_the_others(tmp_path: Path, folder: str, file: str) -> None:
    folders = [f"{tmp_path}/{folder}", str(tmp_path / "b")]
    for value, place in enumerate(folders, 1):
        path = Path(place, file)
        path.parent.mkdir(parents=True)
        path.write_text(JOB.format(name="J", value=value))
    Path(folders[0], "more_of_test.py").write_text("")
    specs = [JobSpec("tools_of_test:J", {}, None, (place,)) for place in folders]
    assert [job_class(spec)().load({})[0] for spec in (*specs, specs[0], specs[1])] == [1, 2, 1, 2]
    assert __import__("more_of_test")
