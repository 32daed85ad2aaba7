"""The index of a user's runs: they are found by name from anywhere, and nothing of a run depends on it."""

import os
from pathlib import Path

import pytest

from jobs.errors import InputError
from jobs.storage.rundir import RunDir
from launcher.cli import main
from launcher.runs.find import find_run
from launcher.runs.index import index_folder, note, noted_runs
from tests.support.builders import build_plan
from tests.support.launcher_runs import write_config


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's state, and a working directory without runs."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "state"


def planned(path: Path) -> RunDir:
    run = build_plan(path, (0, 8))
    note(run)
    return run


def test_a_run_is_found_by_its_name_from_every_directory(state: Path, tmp_path: Path) -> None:
    one, two = planned(tmp_path / "a" / "one"), planned(tmp_path / "b" / "two")
    for _ in range(2):  # noted twice, it is there once
        note(one)
    assert sorted(noted_runs(), key=str) == [one, two]
    assert [find_run("one"), find_run("two")] == [one, two]
    with pytest.raises(InputError, match="no such run"):
        find_run("a/one")
    with pytest.raises(InputError, match=r"no such run, .*did you mean: two;"):
        find_run("twoo")


def test_of_several_runs_of_a_name_none_is_taken_unless_it_is_here(state: Path, tmp_path: Path) -> None:
    one, other = planned(tmp_path / "a" / "one"), planned(tmp_path / "b" / "one")
    with pytest.raises(InputError, match="several runs of this name") as error:
        find_run("one")
    assert all(str(run.path) in str(error.value) for run in (one, other))
    assert main(["cancel", "one"]) == 2
    here = build_plan(Path("runs") / "one", (0, 8))
    assert find_run("one") == here
    assert find_run("one", lambda: tmp_path / "b") == here
    os.rename("runs", "others")
    assert find_run("one", lambda: tmp_path / "b") == other, "the folder that a profile names"


def test_what_is_gone_leaves_the_index_but_not_what_may_be_on_another_machine(state: Path, tmp_path: Path) -> None:
    gone, elsewhere = planned(tmp_path / "a" / "gone"), planned(tmp_path / "b" / "elsewhere")
    gone.plan.unlink()
    (tmp_path / "b").rename(tmp_path / "unmounted")
    assert list(noted_runs()) == []
    (link,) = (state / "launcher" / "runs").iterdir()
    assert link.readlink() == elsewhere.path
    (tmp_path / "unmounted").rename(tmp_path / "b")
    assert list(noted_runs()) == [elsewhere]
    (tmp_path / "b").rename(tmp_path / "unmounted")
    os.utime(link, (0, 0), follow_symlinks=False)
    assert list(noted_runs()) == []
    assert list((state / "launcher" / "runs").iterdir()) == []


@pytest.mark.parametrize("damage", ["a file in its place", "a file in it", "no home", "relative"])
def test_no_run_minds_what_is_the_matter_with_the_index(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    if damage == "a file in its place":
        state.write_text("mine")
    elif damage == "a file in it":
        (state / "launcher" / "runs").mkdir(parents=True)
        (state / "launcher" / "runs" / "notes").write_text("mine")
    elif damage == "no home":
        monkeypatch.setenv("XDG_STATE_HOME", "")
        monkeypatch.setenv("HOME", "relative")
        assert index_folder() is None
    else:
        monkeypatch.setenv("XDG_STATE_HOME", "relative")
        monkeypatch.setenv("HOME", str(state / "home"))
    run = planned(tmp_path / "a" / "one")
    expected = [run] if damage in ("a file in it", "relative") else []
    assert list(noted_runs()) == expected
    assert not Path("relative").exists()


def test_planning_notes_a_run_and_list_shows_it_from_elsewhere(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "project").mkdir()
    config = write_config(tmp_path / "project")
    assert main(["list"]) == 0
    assert (
        capsys.readouterr().out == f"no run below {Path('runs').absolute()}, and none that you have planned elsewhere\n"
    )
    assert main(["plan", str(config)]) == 0
    capsys.readouterr()
    assert main(["list"]) == 0
    assert str(tmp_path / "project" / "runs" / "toy") in capsys.readouterr().out
    assert main(["status", "toy"]) == 0
    assert "planned: 0 of 100 samples" in capsys.readouterr().out
