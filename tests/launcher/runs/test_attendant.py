"""Attendants: one `launcher run` at a time ends the submissions of a run, whichever machine it is on."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.machine.process_identity import ProcessIdentity
from jobs.storage import checked_json
from jobs.storage.rundir import RunDir
from launcher.runs.attendant import Attendant, AttendedElsewhere, find_attendant
from tests.support.builders import build_plan

ME = ProcessIdentity.current()
ELSEWHERE = replace(ME, host="login2")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return build_plan(tmp_path / "run", (0, 16))


def sign(run: RunDir, number: int, who: ProcessIdentity, seconds_ago: float = 0.0) -> None:
    path = run.attendant(number)
    path.write_bytes(checked_json.encode(who.to_json()))
    os.utime(path, (time.time() - seconds_ago,) * 2)


def names(run: RunDir) -> list[str]:
    return sorted(path.name for path in run.submissions.glob("*attendant*"))


def test_it_is_known_while_it_is_there_and_leaves_nothing(run: RunDir) -> None:
    assert find_attendant(run) is None
    with Attendant(run) as attendant:
        attendant.check()
        assert find_attendant(run) == ME
    assert (find_attendant(run), names(run)) == (None, [])


@pytest.mark.parametrize("other", [ME, ELSEWHERE])
def test_a_second_one_is_told_of_the_first_on_any_machine(run: RunDir, other: ProcessIdentity) -> None:
    sign(run, 3, other)
    with pytest.raises(AttendedElsewhere, match=f"process {other.pid} on {other.host}"), Attendant(run):
        pass
    assert names(run) == ["attendant.3"]


def test_one_whose_process_is_gone_or_that_was_silent_for_long_elsewhere_is_replaced(run: RunDir) -> None:
    for gone, silent in ((replace(ME, start=ME.start - 1), 0.0), (ELSEWHERE, 600.0)):
        sign(run, 3, gone, silent)
        assert find_attendant(run) is None
        with Attendant(run):
            assert names(run) == ["attendant.4"]


def test_one_that_was_taken_for_dead_leaves_when_it_looks_again(run: RunDir) -> None:
    with Attendant(run) as frozen:
        sign(run, 2, ELSEWHERE)
        with pytest.raises(AttendedElsewhere, match="on login2"):
            frozen.check()
    assert names(run) == ["attendant.2"]


def test_of_two_that_find_a_dead_one_at_once_one_takes_its_place(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    sign(run, 1, replace(ME, start=ME.start - 1))
    really = os.link

    def link(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", really)
        sign(run, 2, ELSEWHERE)
        really(source, target)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(AttendedElsewhere, match="on login2"), Attendant(run):
        pass
    assert "attendant.2" in names(run)


def test_a_damaged_sign_is_nobodys(run: RunDir) -> None:
    run.attendant(5).write_text("{")
    with Attendant(run):
        assert find_attendant(run) == ME
