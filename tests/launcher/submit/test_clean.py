"""clean: what goes is what the result has; what stays tells all that it told before."""

import os
import random
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import DamageError, InputError, RunError
from jobs.gather.gather import gather
from jobs.gather.verify import verify
from jobs.kinds import RunState
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from launcher import results
from launcher.config.config import load_config
from launcher.plan.extend import extend
from launcher.plan.plan import make_plan
from launcher.runs.submissions import Outcome, create, read_submissions
from launcher.status.reader import StatusReader
from launcher.submit.clean import clean, find_waste
from tests.support.builders import AttemptWriter, submit
from tests.support.chaos import amount
from tests.support.crash_states import crash_states, restore
from tests.support.disk_calls import disk_calls
from tests.support.instant_executor import command, go_on, instant_executor
from tests.support.launcher_runs import datasets, launcher, run_of, write_config


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """Of a run that is complete."""
    config = write_config(tmp_path, job="Everything", name="done")
    with instant_executor():
        assert go_on(config)[0] == 0
        yield config


def data_of(run: RunDir) -> list[Path]:
    return sorted(run.attempts.glob("*.data"))


def cleaned(config: Path) -> RunDir:
    run = run_of(config)
    clean(run, find_waste(run, logs=False))
    return run


def without_age(said: str) -> str:
    """What list says, but for how long ago the run has changed."""
    return re.sub(r"\b\d+ s +", "", said)


def test_the_data_go_and_all_that_is_told_of_the_run_stays(config: Path) -> None:
    run = run_of(config)
    commands = [("status", run.path), ("list", run.path.parent), ("errors", run.path)]
    before = [(code, without_age(said)) for code, said in (command(*words) for words in commands)]
    values = datasets(run.result)
    size = sum(path.stat().st_blocks * 512 for path in data_of(run))
    code, said = command("clean", run.path, "--yes")
    assert code == 0, said
    assert data_of(run) == []
    assert size > 0
    after = [command(*words) for words in commands]
    alone = " (the run was cleaned: all else that it had stored is gone)"
    assert [(code, without_age(said.replace(alone, ""))) for code, said in after] == before
    code, said = command("verify", run.path)
    assert code == 0
    assert "shards: cleaned; 16 batches of 4 shards are in the result alone" in said
    assert f"result: {run.result}, intact" in said
    assert all((datasets(run.result)[name] == data).all() for name, data in values.items())
    with results.open(run.path, in_place=True) as found:
        assert found.complete
        assert found["label"].tolist() == list(range(100))
    assert go_on(config)[0] == 0  # there is nothing to do
    assert command("clean", run.path, "--yes")[0] == 0  # nor to remove


def test_nothing_goes_unless_somebody_says_so(config: Path) -> None:
    run = run_of(config)
    there = data_of(run)
    left, written_now = (run.path / f".{name}.0badcafe.tmp" for name in ("result", "plan.json"))
    left.write_bytes(b"x" * 5000)
    os.utime(left, (time.time() - 7200,) * 2)
    written_now.write_bytes(b"whose writer is about to name it")
    code, said = command("clean", run.path)
    assert code == 2
    assert "add --yes, or --dry-run to see what it would remove" in said
    code, said = command("clean", run.path, "--dry-run")
    assert code == 0
    assert "1 file left behind by processes that were killed" in said
    assert "stays: the result, plan, manifest, submissions, journals, logs" in said
    assert data_of(run) == there
    assert not run.cleaned.exists()


def test_logs_go_if_that_is_wanted(config: Path) -> None:
    run = run_of(config)
    (run.logs / "0001-00000.log").write_text("words")
    cleaned(config)
    assert len(list(run.logs.iterdir())) == 1
    assert command("clean", run.path, "--yes", "--logs")[0] == 0
    assert list(run.logs.iterdir()) == []


def test_a_result_that_is_not_right_keeps_the_data(config: Path) -> None:
    run = run_of(config)
    waste, there = find_waste(run, logs=False), data_of(run)
    with run.result.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        byte = file.read(1)
        file.seek(-100, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
    assert not verify(run).ok
    with pytest.raises(DamageError, match="not all of it is intact, so nothing was removed"):
        clean(run, waste)
    assert data_of(run) == there
    assert not run.cleaned.exists()


def test_a_run_that_is_not_complete_is_refused(tmp_path: Path) -> None:
    run = make_plan(load_config(write_config(tmp_path))).run
    with pytest.raises(InputError, match="is planned, so what it has stored is needed"):
        find_waste(run, logs=False)
    submit(run)
    with AttemptWriter(run) as attempt:
        attempt.commit(0, 8)
        attempt.beat()
    with pytest.raises(RunError, match="submission 1 goes on; when it has ended, the run can be cleaned"):
        find_waste(run, logs=False)
    Outcome(time.time()).write(run, 1)
    with pytest.raises(InputError, match="is incomplete, so what it has stored is needed"):
        find_waste(run, logs=False)


def test_what_is_read_in_place_stays(tmp_path: Path) -> None:
    config = write_config(tmp_path, job="Everything", output={"gather": False})
    with instant_executor():
        assert go_on(config)[0] == 0
        with pytest.raises(InputError, match="has no result but what its attempts have stored"):
            find_waste(run_of(config), logs=False)


def test_in_a_run_that_was_cleaned_nothing_is_computed(config: Path) -> None:
    run = cleaned(config)
    code, said = command("rerun", run.path, "--shards", "1")
    assert code == 1
    assert "was cleaned (launcher clean)" in said
    with pytest.raises(RunError, match="nothing can be added or computed anew"):
        extend(run, load_config(config), ["data.csv", "data.csv"], again=False)
    with pytest.raises(RunError, match="there is nothing to make a result of"):
        gather(run)
    known = read_submissions(run)
    with pytest.raises(RunError, match="was cleaned"):
        create(run, known[-1].submission)
    assert run.submission_numbers() == [known[-1].number]


def test_a_result_that_is_gone_after_that_is_missed(config: Path) -> None:
    run = cleaned(config)
    run.result.unlink()
    assert StatusReader(run).read().state is RunState.INCOMPLETE
    assert "next: launcher run CONFIG --fresh" in command("status", run.path)[1]
    code, said = command("verify", run.path)
    assert code == 1
    assert "is gone, and so is what it was made of" in said
    with pytest.raises(RunError, match="bring back a copy"):
        results.open(run.path)
    assert go_on(config, "--fresh")[0] == 0
    assert not run.cleaned.exists()
    assert verify(run).ok


def test_a_submission_that_begins_meanwhile_keeps_the_data(config: Path) -> None:
    run = run_of(config)
    waste = find_waste(run, logs=False)
    begun: list[int] = []

    def begin(done: int, total: int) -> None:
        if not begun:
            begun.append(create(run, read_submissions(run)[-1].submission).number)

    with pytest.raises(RunError, match="something of it was started meanwhile, so nothing was removed"):
        clean(run, waste, begin)
    assert data_of(run)
    assert not run.cleaned.exists()


def test_every_state_that_a_crash_may_leave_has_all_that_was_computed(tmp_path: Path) -> None:
    config = write_config(tmp_path, 24, job="Everything", shards=2)
    run = run_of(config)
    run.path.parent.mkdir()
    calls = disk_calls(tmp_path, run.path.parent)
    recording = calls.recording()
    counts = []
    for words in (("run", config), ("clean", run.path, "--yes")):
        done = launcher(tmp_path, *words, variables=recording)
        assert done.returncode == 0, done.stderr
        counts.append(len(list(calls.recorded())))
    recorded = [call for call in calls.recorded() if "/logs/" not in call.path and not call.path.endswith(".log")]
    seen = set()
    begun = len(recorded) - (counts[1] - counts[0])
    for _, state in crash_states(recorded, run.path.parent, random.Random(5), amount("STATES", 24), begun):
        shutil.rmtree(run.path, ignore_errors=True)
        restore(state, run.path.parent)
        assert StatusReader(run).read().state is RunState.COMPLETE
        assert verify(run).ok
        seen.add((run.cleaned.exists(), len(data_of(run))))
        clean(run, find_waste(run, logs=False))
        assert (data_of(run), verify(run).ok) == ([], True)
    assert (False, 0) not in seen
    assert {cleaned for cleaned, _ in seen} == {False, True}
    assert Spans([(0, 24)]).count == StatusReader(run).read().ok
