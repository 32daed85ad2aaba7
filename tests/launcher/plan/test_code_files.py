"""The files that a Job is made of: found without importing, the user's own and no others, and compared by content."""

import os
import sys
from pathlib import Path

import pytest

from jobs.storage.code import changed, fingerprint
from jobs.storage.records import JobSpec
from launcher.plan.code_files import find_code


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(folder: Path, module: str = "mine", **params: object) -> list[str]:
    return list(find_code(JobSpec(f"{module}:Mine", params, str(folder))))


def test_modules_that_modules_import_are_followed_wherever_the_import_stands(tmp_path: Path) -> None:
    write(
        tmp_path,
        mine="import first\ndef late():\n    from second import thing\n",
        first="try:\n    import third as t\nexcept ImportError:\n    import missing_one\n",
        second="from importlib import import_module\nimport_module('fourth')\n",
        third="import mine\n",
        fourth="",
        unused="",
    )
    assert found(tmp_path) == ["first.py", "fourth.py", "mine.py", "second.py", "third.py"]


def test_packages_with_and_without_init_and_relative_imports(tmp_path: Path) -> None:
    write(
        tmp_path,
        pack__init="",
        pack__deep__job="from . import near\nfrom ..wide import thing\nfrom .. import top as t\nimport plain.inner.leaf\n",
        pack__deep__near="",
        pack__wide="from pack.deep import *\n",
        pack__top="",
        plain__inner__leaf="",
    )
    (tmp_path / "pack/init.py").rename(tmp_path / "pack/__init__.py")
    (tmp_path / "pack/deep/__init__.py").write_text("")
    assert found(tmp_path, "pack.deep.job") == [
        "pack/__init__.py", "pack/deep/__init__.py", "pack/deep/job.py", "pack/deep/near.py", "pack/top.py", "pack/wide.py",
        "plain/inner/leaf.py",
    ]  # fmt: skip


def test_what_is_installed_or_ours_is_not_the_users(tmp_path: Path) -> None:
    write(tmp_path, mine="import json, numpy, pytest, jobs.job, launcher\nfrom jobs import Job\n")
    assert found(tmp_path) == ["mine.py"]
    write(tmp_path, **{"venv__lib__site-packages__installed": "", "other": "import installed"})
    assert found(tmp_path, "other") == ["other.py"]
    assert found(tmp_path, "jobs.text_embedding") == []


def test_jobs_in_a_folder_of_that_name_beside_the_config_are_the_users(tmp_path: Path) -> None:
    write(tmp_path, jobs__mine="from jobs.job import Job\nfrom jobs.helpers import thing\n", jobs__helpers="")
    assert found(tmp_path, "jobs.mine") == ["jobs/helpers.py", "jobs/mine.py"]


def test_what_lies_beside_a_job_of_another_place_is_the_users_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "library", tools__job="import beside\nimport elsewhere_module\n", beside="")
    write(tmp_path / "more", elsewhere_module="")
    write(tmp_path / "config")
    (tmp_path / "config").mkdir()
    for name in ("library", "more"):
        monkeypatch.syspath_prepend(tmp_path / name)
    assert found(tmp_path / "config", "tools.job") == ["beside.py", "tools/job.py"]


def test_imports_for_type_checkers_do_not_count(tmp_path: Path) -> None:
    write(
        tmp_path,
        mine="import typing\nif typing.TYPE_CHECKING:\n    import shapes\nelse:\n    import real\n",
        shapes="",
        real="",
    )
    assert found(tmp_path) == ["mine.py", "real.py"]


def test_nothing_is_imported_and_a_file_that_is_no_python_has_no_imports(tmp_path: Path) -> None:
    write(
        tmp_path, mine="import broken_one\nraise SystemExit(3)\n", broken_one="def (:\nimport mine_too\n", mine_too=""
    )
    assert found(tmp_path) == ["broken_one.py", "mine.py"]
    assert not {"mine", "broken_one"} & sys.modules.keys()


def test_code_that_params_name_counts(tmp_path: Path) -> None:
    write(tmp_path, models="import layers\n", layers="", script="", unused="")
    (tmp_path / "clean.sh").write_text("true")
    params = {
        "model": "models:build",
        "command": ["sh", "clean.sh", "{path}"],
        "also": {"x": [str(tmp_path / "script.py")]},
    }
    names = found(tmp_path, "jobs.command", **params, url="http://localhost:80/a.js", nothing="gone.py")
    assert names == [str(tmp_path / "script.py"), "clean.sh", "layers.py", "models.py"]


def test_content_decides_and_time_does_not(tmp_path: Path) -> None:
    write(tmp_path, mine="import helper\nimport last\n", helper="a = 1\n", last="")
    spec = JobSpec("mine:Mine", folder=str(tmp_path))
    known = find_code(spec)
    os.utime(tmp_path / "mine.py", (1, 1))
    (tmp_path / "helper.py").write_text("a = 1\n")
    assert changed(known) == changed(known, find_code(spec)) == []
    assert fingerprint(find_code(spec)) == fingerprint(known) != ""
    (tmp_path / "helper.py").write_text("a = 2\n")
    (tmp_path / "last.py").unlink()
    assert changed(known) == changed(known, find_code(spec)) == ["helper.py", "last.py"]
    assert fingerprint(find_code(spec)) != fingerprint(known)


def test_a_folder_that_is_not_to_be_seen_from_here_says_nothing(tmp_path: Path) -> None:
    write(tmp_path / "away", mine="")
    known = find_code(JobSpec("mine:Mine", folder=str(tmp_path / "away")))
    (tmp_path / "away").rename(tmp_path / "gone")
    assert changed(known) == []
    assert changed(known, {}) == ["mine.py"]


def test_the_same_code_in_another_place_is_the_same(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, mine="from pack import a\n", pack__a="")
    codes = [find_code(JobSpec("mine:Mine", folder=str(tmp_path / name))) for name in ("one", "two")]
    assert changed(*codes) == []
    assert fingerprint(codes[0]) == fingerprint(codes[1])
