"""What a script gave to a run stays there for as long as a plan names it, whoever planned, and whatever was interrupted."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import launcher
from jobs.errors import ConflictError
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.config.config import config_from_mapping
from launcher.plan.guard import Way
from launcher.plan.plan import make_plan
from launcher.python import planning
from launcher.python import samples as given_samples
from launcher.python.given import Given
from launcher.submit.start import go_on
from tests.example_jobs.toy_jobs import Toy

SETTINGS: dict[str, Any] = {"executor": "local", "node": {"workers": 0}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(path: Path) -> None:
    path.write_text("rows")


def test_a_planning_that_fails_leaves_nothing(folder: Path) -> None:
    with suppress(ZeroDivisionError), Given(RunDir(folder / "runs" / "a")) as given:
        given.module("m", "x = 1\n")
        given.samples(rows)
        raise ZeroDivisionError
    assert not (folder / "runs").exists()


def test_what_the_plan_of_another_names_stays_where_this_one_is_refused(folder: Path) -> None:
    run = RunDir(folder / "runs" / "a")
    with suppress(ZeroDivisionError), Given(run) as given:
        place = given.module("m", "x = 1\n")
        with Given(run) as other:
            assert other.module("m", "x = 1\n") == place
            run.plan.write_text(f'{{"import_from": ["{place}"]}}')
        raise ZeroDivisionError
    assert (place / "m.py").read_text() == "x = 1\n"


def test_what_a_plan_that_cannot_be_read_may_name_stays(folder: Path) -> None:
    run = RunDir(folder / "runs" / "a")
    with suppress(ZeroDivisionError), Given(run) as given:
        place = given.module("m", "x = 1\n")
        run.plan.mkdir()  # any error but that it is not there
        raise ZeroDivisionError
    assert (place / "m.py").read_text() == "x = 1\n"


def test_who_planned_with_what_another_removed_is_told(folder: Path) -> None:
    with pytest.raises(ConflictError, match="has removed it; plan it again"), Given(RunDir(folder)) as given:
        shutil.rmtree(given.module("m", "x = 1\n"))


def test_an_interrupted_planning_leaves_what_its_plan_names(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(planning, "write_planned", interrupted)
        with pytest.raises(KeyboardInterrupt):
            launcher.plan(Toy(), [{"x": 1}], name="a", **SETTINGS)
    assert len([*(folder / "runs" / "a" / "given").glob("samples-*")]) == 1
    assert launcher.plan(Toy(), [{"x": 1}], name="a", **SETTINGS).notes == ()


@pytest.mark.parametrize("left", ["", "x = 2\n"])
def test_a_file_that_a_crash_has_emptied_is_written_again(folder: Path, left: str) -> None:
    for _ in range(2):
        with Given(RunDir(folder)) as given:
            file = given.module("m", "x = 1\n") / "m.py"
            samples = given.samples(rows)
        assert (file.read_text(), samples.read_text()) == ("x = 1\n", "rows")
        file.write_text(left)
        samples.write_text(left)


def test_files_are_synced_before_they_have_their_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, named = set(), set()
    fsync, replace = os.fsync, os.replace

    def keep(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def check(source: str, target: str) -> None:
        assert os.stat(source).st_ino in synced
        named.add(Path(target).suffix)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", keep)
    monkeypatch.setattr(os, "replace", check)
    with Given(RunDir(folder)) as given:
        given.module("m", "x = 1\n")
        given.samples(rows)
    assert named == {".py", ".arrow"}


def test_a_plan_anew_takes_samples_along_without_a_copy(folder: Path) -> None:
    (folder / "runs").mkdir()
    run = launcher.plan(Toy(), [{"x": 1}], name="a", **SETTINGS)
    (samples,) = (run.path / "given").glob("samples-*")
    inode = samples.stat().st_ino
    again = launcher.plan(Toy(delay=0.5), [{"x": 1}], name="a", **SETTINGS)
    assert "planned anew" in again.notes[0]
    assert samples.stat().st_ino == inode


JOB = "from jobs import Job\n\nclass Given(Job):\n    def process(self, batch):\n        return {'x': batch['x']}\n"


def planned(run: RunDir) -> Plan:
    """With a module and samples that were given."""
    with Given(run) as given:
        module = given.module("job_of_a_notebook", JOB)
        samples = given.samples(lambda path: given_samples.write([{"x": 1}], path))
    job = {"class": "job_of_a_notebook:Given", "import_from": [str(module)]}
    place = {"name": run.name, "folder": os.getcwd(), "data": {"manifest": str(samples)}}
    return make_plan(config_from_mapping({**place, "job": job, **SETTINGS}, run.config)).plan


@pytest.mark.parametrize("way", [Way.REFUSE, Way.FRESH])
@pytest.mark.parametrize("is_copy", [True, False])
def test_a_run_that_was_renamed_or_copied_has_what_it_was_given(folder: Path, way: Way, is_copy: bool) -> None:
    run, now = RunDir(folder / "runs" / "a"), RunDir(Path("runs", "b"))
    known = planned(run)
    if is_copy:
        shutil.copytree(run.path, now.path)
        shutil.rmtree(run.path)
    else:
        run.path.rename(now.path)
    goes_on = go_on(now, way)[0]
    assert goes_on.is_new == (way is Way.FRESH)
    assert Plan.read(now.plan).job.import_from == (str(folder / "runs/b/given" / Path(known.job.import_from[0]).name),)
    files = [*Plan.read(now.plan).job.import_from, goes_on.plan.code["job_of_a_notebook.py"]["path"]]
    assert all(map(os.path.exists, [*files, goes_on.plan.config["data"]["manifest"][0]]))


def test_a_run_that_is_named_by_a_path_from_here_takes_along_what_it_was_given(folder: Path) -> None:
    run = RunDir(folder / "runs" / "a")
    known = planned(run)
    again = go_on(RunDir(Path("runs", "a")), Way.FRESH)[0]
    assert again.is_new
    assert again.plan.created > known.created
    assert all(map(os.path.isdir, known.job.import_from))
