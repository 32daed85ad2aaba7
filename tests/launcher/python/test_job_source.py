"""The folders from which array tasks import what a Job of Python's is made of."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from jobs.storage.rundir import RunDir
from launcher.python.given import Given
from launcher.python.job_source import job_source


def test_what_is_imported_later_and_by_others_is_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {"one": "def f(x):\n    import second_of_three\n", "two": "import third_of_three\n", "three": ""}
    names = dict(zip(modules, ("first_of_three", "second_of_three", "third_of_three"), strict=True))
    for folder, text in modules.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{names[folder]}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path / folder)
    module = import_module("first_of_three")
    with Given(RunDir(tmp_path / "run")) as given:
        found = job_source(module.f, given)
    assert found.path == "first_of_three:f"
    assert found.import_from == tuple(str(tmp_path / folder) for folder in modules)
    del sys.modules["first_of_three"]
