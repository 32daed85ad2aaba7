"""Events: all that happened to a run, each once, also while it grows."""

import json
import re
import time
from pathlib import Path

import pytest

from jobs.kinds import EndReason, FailureKind
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from launcher.cli import main
from launcher.runs.events import EventReader
from launcher.runs.submissions import Outcome, update
from tests.support.builders import ELSEWHERE, AttemptWriter, build_plan, build_run, write_shard, write_stub_result
from tests.support.launcher_runs import ROOT


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = build_plan(tmp_path / "run", (0, 16, 32))
    update(run, Submission.read(run.submission(1)), job_ids=("77",), process=ELSEWHERE)
    return run


def kinds(reader: EventReader) -> list[str]:
    return [str(event["event"]) for event in reader.read()]


def test_each_is_told_once_as_it_happens(run: RunDir) -> None:
    reader = EventReader(run)
    assert kinds(reader) == ["planned", "submitted"]
    writer = AttemptWriter(run)
    assert kinds(reader) == ["attempt-started"]
    writer.commit(0, 8)
    assert kinds(reader) == [], "what no beat covers has not happened"
    writer.beat()
    writer.beat()
    (committed,) = reader.read()
    assert (committed["event"], committed["samples"], committed["rows"]) == ("committed", 8, "0-7")
    writer.commit(8, 16, bad=[9])
    writer.end(EndReason.FAILED, FailureKind.CRASH, "killed")
    committed, ended = reader.read()
    assert (committed["rows"], committed["ok"], committed["failed"]) == ("8-15", 15, 1)
    assert (ended["event"], ended["end"], ended["kind"], ended["message"]) == (
        "attempt-ended",
        "failed",
        "CRASH",
        "killed",
    )
    Outcome(time.time(), error="no room").write(run, 1)
    (ended,) = reader.read()
    assert (ended["event"], ended["submission"], ended["error"]) == ("submission-ended", 1, "no room")
    assert kinds(reader) == []


def test_a_result_is_an_event(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run")
    write_stub_result(run)
    gathered = [event for event in EventReader(run).read() if event["event"] == "gathered"]
    assert [event["path"] for event in gathered] == [str(run.result)]


def test_half_a_line_is_left_for_the_next_look(run: RunDir) -> None:
    writer = AttemptWriter(run)
    writer.commit(0, 8)
    writer.beat()
    writer.close()
    whole = run.journal(writer.name).read_bytes()
    run.journal(writer.name).write_bytes(whole[:-5])
    reader = EventReader(run)
    assert "committed" not in kinds(reader)
    run.journal(writer.name).write_bytes(whole)
    assert kinds(reader) == ["committed"]


def test_the_command_prints_a_line_each_in_the_order_of_time(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    write_shard(run, 0)
    assert main(["events", str(run.path)]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["time"] for one in told] == sorted(one["time"] for one in told)
    assert main(["events", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["events"] == told


def test_following_ends_with_the_run(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    Outcome(time.time(), cancelled=True).write(run, 1)
    assert main(["events", str(run.path), "--follow"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["cancelled"] is True


def test_what_they_tell_is_documented(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run")
    update(run, Submission.read(run.submission(1)), job_ids=("77",))
    Outcome(time.time()).write(run, 1)
    write_stub_result(run)
    table = (ROOT / "docs" / "report.md").read_text().partition("| event |")[2].partition("\n\n")[0]
    rows = [row.split("|") for row in table.splitlines()[2:]]
    told = {row[1].strip(" `"): set(re.findall(r"`(\w+)`", row[2])) for row in rows}
    for event in EventReader(run).read():
        assert event.keys() - {"event", "time"} == told.pop(str(event["event"]), event.keys() - {"event", "time"})
    assert told == {}
