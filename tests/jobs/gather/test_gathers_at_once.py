"""Several gathers of one result at a time, also where locks do not keep them apart: one wins, no result is mixed."""

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import BusyError
from jobs.gather import new_result
from jobs.gather.gather import gather
from jobs.gather.new_result import NewResult
from jobs.storage.rundir import RunDir
from tests.jobs.gather.test_gather import check_outputs, half_made
from tests.support.builders import build_plan, build_run, write_shard

ALL = set(range(64))


class Killed(BaseException):
    """Ends a gather as if it had been killed, but for its descriptors."""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return build_run(tmp_path / "run", (0, 20, 50, 64))


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "fcntl", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_one_that_ends_on_its_way_spoils_nothing(run: RunDir) -> None:
    def end(done: int, total: int) -> None:
        raise Killed

    def second(done: int, total: int) -> None:
        with pytest.raises(Killed):
            gather(run, progress=end)

    assert gather(run, progress=second).complete
    check_outputs(run.result, 64, ALL)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_both_make_a_whole_one(run: RunDir) -> None:
    assert gather(run, progress=lambda done, total: check_second(run)).complete
    check_outputs(run.result, 64, ALL)
    assert not half_made(run)


def check_second(run: RunDir) -> None:
    assert gather(run).complete
    check_outputs(run.result, 64, ALL)


def test_with_locks_that_keep_nobody_out_the_second_one_wins_and_the_first_one_says_so(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "fcntl", lambda *arguments: 0)
    begun: list[int] = []

    def second(done: int, total: int) -> None:
        if not begun:
            begun.append(done)
            check_second(run)

    with pytest.raises(BusyError, match="another process has begun to gather this result anew"):
        gather(run, progress=second)
    check_outputs(run.result, 64, ALL)
    assert not half_made(run)


def test_what_a_killed_one_left_is_removed_by_the_next(run: RunDir) -> None:
    left = run.path / ".result.0badcafe.part.h5"
    left.write_bytes(b"half")
    gather(run)
    assert not half_made(run)
    check_outputs(run.result, 64, ALL)


def test_a_result_whose_name_begins_alike_is_another(run: RunDir) -> None:
    with NewResult(run.path / "result.v2.h5"):
        assert gather(run).complete


def test_of_two_that_begin_at_once_one_goes_on(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter([run.path / ".result.bbbbbbbb.part.h5", run.path / ".result.aaaaaaaa.part.h5"])
    monkeypatch.setattr("jobs.gather.new_result.temporary_result", lambda path: next(names))
    with NewResult(run.result), pytest.raises(BusyError):
        NewResult(run.result)


def test_one_that_is_at_work_is_seen_whatever_its_name(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """The later one has the first name, and looks for the first time before the other begins."""
    names = iter([run.path / ".result.bbbbbbbb.part.h5", run.path / ".result.aaaaaaaa.part.h5"])
    monkeypatch.setattr(new_result, "temporary_result", lambda path: next(names))
    monkeypatch.setattr(new_result, "_WAY", 0.1)
    others, begun = new_result._others, list[NewResult]()

    def look(path: Path, own: Path | None = None) -> dict[Path, bool]:
        found = others(path, own)
        if not begun:
            monkeypatch.setattr(new_result, "_others", others)
            begun.append(NewResult(path))
        return found

    monkeypatch.setattr(new_result, "_others", look)
    with pytest.raises(BusyError):
        NewResult(run.result)
    begun[0].publish()


@pytest.mark.skipif(os.getuid() != 0, reason="becomes other users")
@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_another_users_gather_loses_nothing(mode: int) -> None:
    """He is seen at work where his file may be read; where it may not, nothing is taken for what somebody has left."""
    code = (
        "import os, sys; from pathlib import Path; from jobs.gather.new_result import NewResult; os.setuid(12345)\n"
        "print(NewResult(Path(sys.argv[1])).has_locks)"
    )
    with tempfile.TemporaryDirectory() as folder, NewResult(Path(folder) / "result.h5") as his:
        os.chmod(folder, 0o777)
        his.temporary.chmod(mode)
        tried = subprocess.run([sys.executable, "-c", code, his.path], capture_output=True, text=True)
    if mode == 0o644:
        assert "another process is gathering this result now" in tried.stderr
    else:
        assert tried.stdout == "False\n"


def test_who_leaves_rows_out_looks_which_are_missing_when_it_has_the_lock(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 16))
    write_shard(run, 0, batches=[8], done=False)
    with NewResult(run.result), pytest.raises(BusyError):
        gather(run, allow_missing=True)
    with NewResult(run.result), pytest.raises(BusyError):  # not that rows are missing: the other may have them
        gather(run)
