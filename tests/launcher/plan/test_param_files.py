"""Param files: what of a folder of weights decides whether it is still the same."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xxhash

from jobs.job import Job
from jobs.storage.plans import Plan
from jobs.storage.records import JobSpec
from launcher.plan import param_files
from launcher.plan.param_files import changed_files, describe_files


class Weighty(Job):
    param_files = ("model",)


def plan_of(folder: Path) -> Plan:
    spec = JobSpec("job:Weighty", {"model": str(folder)})
    files = describe_files(Weighty, spec)
    return Plan("test", "0", 0.0, 1, None, (0, 1), spec, 1, 0, {}, files=files)


class Settled(Weighty):
    def __init__(self, model: Path | list[str] | dict[str, str] = Path("weights")) -> None: ...


@pytest.mark.parametrize("params", [{}, {"model": ["other", "weights"]}, {"model": {"fold": "weights"}}])
def test_weights_that_a_default_names_or_a_list_count_too(tmp_path: Path, params: dict[str, Any]) -> None:
    weights = tmp_path / "weights"
    weights.write_text("1")
    spec = JobSpec("job:Settled", params, str(tmp_path))
    plan = Plan("test", "0", 0.0, 1, None, (0, 1), spec, 1, 0, {}, files=describe_files(Settled, spec))
    assert not changed_files(plan, spec)
    moved = shutil.copytree(tmp_path, tmp_path / "moved")
    weights.write_text("2")
    assert changed_files(plan, spec)
    assert not changed_files(plan, replace(spec, folder=str(moved)))


def test_a_default_that_is_empty_names_no_file(tmp_path: Path) -> None:
    class Unsettled(Weighty):
        def __init__(self, model: str = "") -> None: ...

    assert describe_files(Unsettled, JobSpec("job:Unsettled", {}, str(tmp_path))) == {}


def test_of_a_folder_of_much_the_configuration_counts_and_blocks_of_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in {"_MUCH": 1 << 20, "_LARGE": 1 << 16, "_BLOCK": 1 << 10}.items():
        monkeypatch.setattr(param_files, name, size)
    config, weights = tmp_path / "model" / "config.json", tmp_path / "model" / "weights"
    config.parent.mkdir()
    config.write_text("1")
    weights.write_bytes(bytes((1 << 20) + 1))
    plan = plan_of(config.parent)

    def is_changed() -> bool:
        return bool(changed_files(plan, plan.job))

    config.write_text("2")
    assert is_changed()
    config.write_text("1")
    assert not is_changed()
    for at in (0, weights.stat().st_size // 15, weights.stat().st_size - 1):  # as a checkpoint that is written over
        with weights.open("r+b") as changed:
            changed.seek(at)
            changed.write(b"x")
        assert is_changed(), at
        with weights.open("r+b") as changed:
            changed.seek(at)
            changed.write(b"\0")
        assert not is_changed()
    with weights.open("ab") as longer:
        longer.write(b"\0")
    assert is_changed()


def test_a_folder_that_an_older_version_has_hashed_whole_may_be_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(param_files, "_MUCH", 1 << 18)
    monkeypatch.setattr(param_files, "_LARGE", 1 << 16)
    content = b"w" * (1 << 20)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "weights").write_bytes(content)
    plan = plan_of(tmp_path / "old")
    whole = xxhash.xxh3_128(b"weights\0%d\0" % len(content) + content).hexdigest()
    known = {name: plan.files["model"][name] for name in ("path", "stamp")} | {"hash": whole}
    shutil.copytree(tmp_path / "old", tmp_path / "new", copy_function=shutil.copyfile)
    moved = JobSpec("job:Weighty", {"model": str(tmp_path / "new")})
    assert changed_files(replace(plan, files={"model": known}), moved) == []
    (tmp_path / "new" / "weights").write_bytes(content[:-1] + b"x")
    assert changed_files(replace(plan, files={"model": known}), moved)
