"""``launcher list``: every run has a line, also one that cannot be read, and none hides another."""

import csv
import json
import os
import re
import time
from pathlib import Path

import pytest

from jobs.machine.user import user_name
from jobs.storage.rundir import RunDir
from jobs.storage.seals import NO_SEAL, read_seal, stamp
from launcher.cli import main
from launcher.runs.find import list_runs
from launcher.runs.submissions import Outcome
from tests.support.builders import build_plan, build_run, submit, write_stub_result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two runs that are fine, and one whose files are to be damaged."""
    Outcome(1.0).write(build_run(tmp_path / "well"), 1)
    Outcome(1.0).write(build_plan(tmp_path / "bad", (0, 8)), 1)
    Outcome(1.0, cancelled=True).write(build_plan(tmp_path / "again", (0, 8)), 1)
    return tmp_path


def lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Of each run its state and how far it is."""
    assert main(["list", str(folder)]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "state", "changed", "owner", "samples"]
    found = [re.fullmatch(r"(\S+) +(\w+) +\d+ \w+ +(\S+) +(.*)", row) for row in rows]
    assert all(row and row[3] == user_name() for row in found)
    return {Path(row[1]).name: f"{row[2]}: {row[4]}" for row in found if row}


def test_each_run_has_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(folder, capsys)
    assert found == {
        "well": "incomplete: 64 of 64 samples (100%)",
        "bad": "incomplete: 0 of 8 samples (0%)",
        "again": "cancelled: 0 of 8 samples (0%)",
    }


@pytest.mark.parametrize("name", ["plan.json", "submissions/0001.json", "submissions/0001.outcome"])
@pytest.mark.parametrize("damage", ["", '{"format": 3, "rows', "[]", "\udcff"])
def test_a_run_with_a_damaged_file_is_listed_with_what_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, damage: str
) -> None:
    (folder / "bad" / name).write_bytes(damage.encode(errors="surrogateescape"))
    found = lines(folder, capsys)
    assert len(found) == 3
    assert found["well"].startswith("incomplete: 64 of 64 samples")
    assert str(folder / "bad") in found["bad"]


def test_the_document_of_a_list_has_an_error_for_a_damaged_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad" / "submissions" / "0001.json").write_text("{")
    assert main(["list", str(folder), "--json"]) == 0
    runs = {Path(run["run"]).name: run for run in json.loads(capsys.readouterr().out)["runs"]}
    assert runs["well"]["samples"]["ok"] == 64
    assert "0001.json: cut short or damaged" in runs["bad"]["error"]


def test_a_journal_that_is_no_journal_hides_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attempts = RunDir(folder / "bad").attempts
    (attempts / "0001-00000-aaaaaaaa.journal").write_bytes(b"\0" * 4096)
    (attempts / "0001-00000-bbbbbbbb.journal").touch()
    (attempts / "notes.journal").write_text("mine\n")
    assert "0 of 8 samples" in lines(folder, capsys)["bad"]


def test_the_run_that_changed_last_comes_first(folder: Path) -> None:
    now = time.time()
    for age, name in enumerate(("well", "again", "bad")):
        run = RunDir(folder / name)
        for path in (run.plan, run.submissions):
            os.utime(path, (now - age, now - age))
    assert [run.name for run in list_runs(folder)] == ["well", "again", "bad"]


def test_a_complete_run_is_listed_without_a_look_at_its_attempts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(folder / "well")
    write_stub_result(run)
    seal = read_seal(run.result)
    assert seal
    run.result.unlink()
    Outcome(time.time(), failed_samples=3, seals=(seal,)).write(run, 1)
    assert lines(folder, capsys)["well"].startswith("incomplete")  # its result is gone, or was never written
    run.result.write_bytes(NO_SEAL)
    assert lines(folder, capsys)["well"].startswith("incomplete")  # or is another one
    run.result.write_bytes(stamp(seal))
    for journal in run.attempts.iterdir():
        journal.unlink()
    assert lines(folder, capsys)["well"] == "complete: 61 ok, 3 failed of 64 samples"


@pytest.mark.parametrize(
    "outcome",
    [Outcome(2.0), Outcome(2.0, cancelled=True, failed_samples=0), Outcome(2.0, error="no room", failed_samples=0)],
)
def test_what_is_not_told_at_its_end_is_looked_up(
    folder: Path, capsys: pytest.CaptureFixture[str], outcome: Outcome
) -> None:
    run = RunDir(folder / "bad")
    write_stub_result(run)
    submit(run, 2)
    Outcome(1.0, failed_samples=0).write(run, 1)
    outcome.write(run, 2)
    assert "0 of 8 samples" in lines(folder, capsys)["bad"]


def test_a_complete_run_that_is_submitted_again_is_looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDir(folder / "well")
    write_stub_result(run)
    Outcome(time.time(), failed_samples=0).write(run, 1)
    submit(run, 2, claims=True)
    assert lines(folder, capsys)["well"].startswith("running")


def test_other_things_in_the_folder_are_no_runs(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "empty").mkdir()
    (folder / "dangling").symlink_to("nowhere")
    assert {run.name for run in list_runs(folder)} == {"well", "again", "bad"}


def names(capsys: pytest.CaptureFixture[str], *arguments: str) -> set[str]:
    assert main(["list", "--csv", *arguments]) == 0
    return {row["name"] for row in csv.DictReader(capsys.readouterr().out.splitlines())}


def test_a_list_may_be_of_some_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad" / "plan.json").write_text("{")
    long_ago = time.time() - 3 * 86400
    for path in (folder / "well" / "plan.json", folder / "well" / "submissions"):
        os.utime(path, (long_ago, long_ago))
    for arguments, found in (
        ([], {"well", "bad", "again"}),
        (["--state", "cancelled,unreadable"], {"bad", "again"}),
        (["--state", "running"], set()),
        (["--since", "2d"], {"bad", "again"}),
        (["--since", "73h", "--state", "incomplete"], {"well"}),
        (["--name", "*l*"], {"well"}),
        (["--owner", user_name()], {"well", "bad", "again"}),
        (["--owner", "nobody-like-that"], set()),
    ):
        assert names(capsys, str(folder), *arguments) == found, arguments
    for arguments in (["--state", "done"], ["--since", "2 days"]):
        assert main(["list", *arguments, str(folder)]) == 2


def test_a_list_tells_how_large_runs_are_where_it_is_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad" / "logs" / "0001-00000.log").write_bytes(b" " * 3_000_000)
    assert main(["list", str(folder), "--size"]) == 0
    assert any(re.search(r"bad +incomplete +\d+ s +3 MB ", line) for line in capsys.readouterr().out.splitlines())
    assert main(["list", str(folder), "--size", "--json"]) == 0
    sizes = {run["name"]: run["size"] for run in json.loads(capsys.readouterr().out)["runs"]}
    assert sizes["bad"] == sum(path.stat().st_size for path in (folder / "bad").rglob("*") if path.is_file())


def test_a_list_is_of_the_nearest_folder_with_runs(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    all_of_them = {"well", "bad", "again"}
    assert names(capsys, str(folder / "bad")) == {"bad"}
    monkeypatch.chdir(folder)
    assert names(capsys) == all_of_them
    project = tmp_path_factory.mktemp("project")
    folder.rename(project / "runs")
    monkeypatch.chdir(project)
    assert names(capsys) == all_of_them
    monkeypatch.chdir("/")
    assert names(capsys, str(project)) == all_of_them
