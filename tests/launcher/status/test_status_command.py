"""``launcher status`` of several runs, of a result, and as a table for programs."""

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.extras import PACKAGES
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from launcher.cli import main
from launcher.runs.submissions import Outcome, update
from tests.support.builders import build_plan, build_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RunDir, RunDir]:
    """One of 3 shards with a failed sample and a result, and one that is planned."""
    monkeypatch.chdir(tmp_path)
    one, other = build_run(Path("runs/one"), failed=[3]), build_plan(Path("runs/other"), (0, 8))
    assert main(["gather", "one"]) == 0
    for run in (one, other):
        Outcome(1.0).write(run, 1)
    return one, other


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_several_runs_are_shown_one_after_another(
    runs: tuple[RunDir, RunDir], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["status", "one", "other", "one"]) == 1
    first, _, second = capsys.readouterr().out.partition("\n\n")
    assert first.startswith("one  ")
    assert second.startswith("other  ")
    assert main(["status", "one", "other", "--json"]) == 1
    assert [one["run"] for one in document(capsys)["runs"]] == ["runs/one", "runs/other"]
    assert main(["status", "one", "other", "--watch"]) == 2


def test_a_table_has_a_line_a_run_or_a_shard(runs: tuple[RunDir, RunDir], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    main(["status", "one", "other", "--csv"])
    table = [*csv.DictReader(capsys.readouterr().out.splitlines())]
    assert [(row["run"], row["samples"], row["failed"], row["shards_done"]) for row in table] == [
        ("runs/one", "64", "1", "3"),
        ("runs/other", "8", "0", "0"),
    ]
    main(["status", "one", "other", "--csv", "--shards"])
    table = [*csv.DictReader(capsys.readouterr().out.splitlines())]
    assert [(row["run"], row["shard"], row["state"]) for row in table] == [
        *(("runs/one", str(shard), "done") for shard in range(3)),
        ("runs/other", "0", "pending"),
    ]
    main(["status", "one", "--csv", "--failed"])
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (row["shard"], row["failed"], row["node"]) == ("0", "1", "host")
    assert main(["status", "one", "--csv", "--json"]) == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--failed"], "no shard and no sample has failed"),
        (["--shards", "--running"], "no shard is in work"),
        (["--running", "--slow"], "no shard is in work; no shard is much slower than others, or stuck"),
    ],
)
def test_where_there_are_no_shards_such_as_a_flag_asks_for_that_is_said(
    runs: tuple[RunDir, RunDir], capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    capsys.readouterr()
    main(["status", "other", *flags])
    assert f"\n  {said}\n" in capsys.readouterr().out


def test_a_result_names_its_run_wherever_it_lies(
    runs: tuple[RunDir, RunDir], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    one, _ = runs
    update(one, Submission.read(one.submission(1)), folder=str(one.path.absolute()))
    assert main(["gather", "one"]) == 0
    for result in (one.result, Path(shutil.copy(one.result, "mine.h5"))):
        capsys.readouterr()
        main(["status", str(result), "--json"])
        assert Path(document(capsys)["run"]).absolute() == one.path.absolute()
    one.path.rename(tmp_path / "gone")
    assert main(["status", "mine.h5"]) == 2
    assert "the run of this result is not to be found" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["status", "notes.txt"]) == 2
    assert "is a file; RUN is a run directory" in capsys.readouterr().err


def test_top_is_status_where_there_is_no_terminal_and_else_says_what_it_lacks(
    runs: tuple[RunDir, RunDir], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    capsys.readouterr()
    assert main(["top", "one", "other"]) == 1
    assert capsys.readouterr().out.startswith("one  ")
    assert main(["top", "one"]) == 0
    assert capsys.readouterr().out.startswith("one  complete")
    main(["top", "one", "--json"])
    assert document(capsys)["state"] == "complete"
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setitem(PACKAGES, "top", ("textual_that_is_not_there",))
    assert main(["top", "one"]) == 2
    assert "launcher top needs textual, which comes with pip install" in capsys.readouterr().err
