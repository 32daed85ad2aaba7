"""Whose turn it is of runs that come after each other, and who starts it: each case in milliseconds, by an instant executor."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from jobs.errors import InputError, RunError
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from jobs.storage.upstreams import Upstream
from launcher.config.config import Config
from launcher.runs.downstream import Waiting, how_it_waits
from launcher.status.chain import Link
from launcher.status.reader import StatusReader
from launcher.submit import downstream
from launcher.submit.clean import clean, find_waste
from launcher.submit.downstream import start_waiting
from tests.support.chains import run_in, write_rows, write_run
from tests.support.instant_executor import InstantExecutor, command, instant_executor

CHAIN = ("first.yaml", "second.yaml", "third.yaml")


@pytest.fixture(autouse=True)
def instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three runs, of which the first is planned, and the others wait."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path, "first", write_rows(tmp_path), executor="instant")
    write_run(tmp_path, "second", {"run": "first", "outputs": ["text"]}, executor="instant")
    write_run(tmp_path, "third", {"run": "second", "outputs": ["text"]}, executor="instant")
    with instant_executor():
        done("plan", "first.yaml")
        yield


def done(*arguments: object) -> str:
    code, said = command(*arguments)
    assert code == 0, said
    return said


def state(name: str) -> str:
    return StatusReader(run_in(Path.cwd(), name)).read().state


def is_waiting(name: str) -> bool:
    run = run_in(Path.cwd(), name)
    return how_it_waits(run, Plan.read(run.plan)) is not None


def states() -> list[str]:
    return [state(name) for name in ("first", "second", "third")]


def test_each_waits_for_the_one_before_until_somebody_completes_the_first() -> None:
    said = done("submit", "third.yaml", "second.yaml")
    assert "it waits for first, which is planned, and is submitted by itself once that is complete" in said
    assert states() == ["planned"] * 3
    done("submit", "first")
    assert states() == ["complete"] * 3
    assert not is_waiting("third")


def test_all_at_once_in_any_order() -> None:
    done("submit", *reversed(CHAIN))
    assert states() == ["complete"] * 3


def test_the_document_of_several_has_that_of_each() -> None:
    said = done("submit", "second.yaml", "third.yaml", "--json")
    documents = json.loads(said[said.index("{") :])["runs"]  # messages go to stderr
    assert [Path(one["run"]).name for one in documents] == ["second", "third"]
    assert [Path(one["waits_for"]).name for one in documents] == ["first", "first"]
    found = json.loads(command("status", "third", "--json")[1])
    assert [(Path(one["run"]).name, one["state"]) for one in found["after"]] == [
        ("first", "planned"),
        ("second", "planned"),
    ]
    assert Path(found["blocked_by"]).name == "first"
    assert found["waits"] == {"problem": None}


def test_what_is_wrong_with_the_last_is_known_before_the_first_begins(tmp_path: Path) -> None:
    write_run(tmp_path, "third", {"run": "second"}, "tests.example_jobs.toy_jobs:Everythin", executor="instant")
    for name in ("run", "submit"):
        code, said = command(name, *CHAIN)
        assert code == 2
        assert "Everythin" in said
        assert state("first") == "planned"


def test_what_planning_tells_of_several_is_told_though_each_is_planned_anew_when_it_begins() -> None:
    said = done("run", *CHAIN[:2], "--set", "node.batch_size=3")
    assert said.count("planned anew: node.batch_size: ") == 1


def test_one_alone_is_refused_before_its_turn_and_says_what_to_do() -> None:
    done("plan", "second.yaml")
    for arguments in (("run", "second.yaml"), ("rerun", "second")):
        code, said = command(*arguments)
        assert code == 1
        assert "comes after first, which is planned: `launcher status second` shows what to do about that" in said
    said = done("status", "second")
    assert (
        "  comes after first, which is planned; to have it submitted once that is complete: launcher submit second"
        in said
    )
    assert said.splitlines()[-1] == "next: launcher submit first"


def test_two_runs_of_one_both_go_on_and_a_cancelled_one_does_not(tmp_path: Path) -> None:
    write_run(tmp_path, "other", {"run": "first"}, executor="instant")
    write_run(tmp_path, "ordered", "data.csv", executor="instant", after="first.yaml")
    done("submit", "second.yaml", "other.yaml", "ordered.yaml")
    said = done("cancel", "other")
    assert "other waits no more for first; to have it wait again: launcher submit other" in said
    done("run", "first.yaml")
    assert [state(name) for name in ("second", "other", "ordered")] == ["complete", "planned", "complete"]
    done("submit", "other")
    assert state("other") == "complete"


def test_of_several_before_it_the_last_one_starts_it(tmp_path: Path) -> None:
    write_run(tmp_path, "slow", "data.csv", executor="instant")
    write_run(tmp_path, "last", {"run": "first"}, executor="instant", after=["slow"])
    done("plan", "slow.yaml")
    done("submit", "last.yaml")
    done("submit", "first")
    assert state("last") == "planned"
    assert "  waits for slow, which is planned" in done("status", "last")
    done("submit", "slow")
    assert state("last") == "complete"
    assert not is_waiting("last")


def test_who_waits_for_a_cancelled_run_is_told_and_waits_on() -> None:
    done("submit", "second.yaml")
    said = done("cancel", "first")
    assert "these wait for first, unless they are cancelled too: second" in said
    done("submit", "first")
    assert state("second") == "complete"


def test_who_waits_for_a_run_waits_for_the_one_that_takes_its_place(tmp_path: Path) -> None:
    done("submit", "second.yaml")
    write_run(tmp_path, "first", write_rows(tmp_path, 20), executor="instant")
    assert "planned anew" in done("plan", "first.yaml")
    assert is_waiting("second")
    done("submit", "first")
    assert state("second") == "complete"
    assert Plan.read(run_in(tmp_path, "second").plan).rows == 20


def test_a_gather_by_hand_goes_on_with_those_that_wait(tmp_path: Path) -> None:
    done("submit", "first")
    (tmp_path / "runs" / "first" / "result.h5").unlink()
    assert state("first") == "incomplete"
    done("submit", "second.yaml")
    assert state("second") == "planned"
    done("gather", "first")
    assert state("second") == "complete"


def test_it_begins_with_the_settings_that_it_was_submitted_with(tmp_path: Path) -> None:
    """Whatever its config says by then, and with the samples that there are then."""
    done("submit", "second.yaml", "--set", "node.workers=3")
    write_run(tmp_path, "second", {"run": "first"}, executor="local")
    done("submit", "first")
    (known,) = StatusReader(run_in(tmp_path, "second")).read().submissions
    assert (known.submission.executor, known.submission.node.workers) == ("instant", 3)


def test_what_keeps_it_from_beginning_is_told_by_its_status(tmp_path: Path) -> None:
    """Outputs are known once there are some. The others that wait begin."""
    write_run(tmp_path, "second", {"run": "first", "outputs": ["txt"]}, executor="instant")
    write_run(tmp_path, "other", {"run": "first", "outputs": ["text"]}, executor="instant")
    done("submit", "second.yaml", "other.yaml")
    done("submit", "first")
    said = done("status", "second")
    assert "could not be submitted: " in said
    assert "run first has no output 'txt'; did you mean text?" in said
    assert "when that is mended: launcher submit second" in said
    assert state("other") == "complete"
    write_run(tmp_path, "second", {"run": "first", "outputs": ["text"]}, executor="instant")
    done("submit", "second.yaml")
    assert state("second") == "complete"
    assert not is_waiting("second")


def test_a_copy_of_a_run_starts_nothing(tmp_path: Path) -> None:
    done("submit", "second.yaml")
    copy = RunDir(tmp_path / "runs" / "copy")
    shutil.copytree(run_in(tmp_path, "first").path, copy.path)
    done("run", "copy")
    assert [state("copy"), state("second")] == ["complete", "planned"]
    assert is_waiting("second")


@pytest.mark.parametrize("when", ["before it was submitted", "before that was noted"])
def test_a_start_that_was_cut_short_is_made_up_for(tmp_path: Path, when: str) -> None:
    """Whoever completed the run before was killed then; whoever looks after that run next starts it, and not a second time."""
    done("submit", "second.yaml")
    (note,) = run_in(tmp_path, "first").downstream.iterdir()
    kept = note.read_bytes()
    if when == "before it was submitted":
        note.unlink()
    done("submit", "first")
    note.write_bytes(kept)
    start_waiting(run_in(tmp_path, "first"))
    assert state("second") == "complete"
    assert run_in(tmp_path, "second").submission_numbers() == [1]
    assert not is_waiting("second")


def test_a_start_that_was_cut_short_is_told_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done("submit", "second.yaml")
    (note,) = run_in(tmp_path, "first").downstream.iterdir()
    kept = note.read_bytes()
    note.unlink()
    done("submit", "first")
    note.write_bytes(kept)
    assert "all runs before it are complete, and the last one's end submits it" in done("status", "second")
    monkeypatch.setattr("launcher.status.chain._START_SECONDS", 0.0)
    assert "and nobody has submitted it; do: launcher submit second" in done("status", "second")
    done("submit", "second")
    assert state("second") == "complete"


def test_a_run_is_not_cleaned_before_what_is_made_of_it_is_complete(tmp_path: Path) -> None:
    done("run", "first.yaml")
    done("submit", "third.yaml", "second.yaml")
    second = run_in(tmp_path, "second")
    result = second.result.read_bytes()
    second.result.unlink()
    code, said = command("clean", "first", "--yes")
    assert code == 2
    assert "has to stay as it is until what is made of it is complete: second" in said
    second.result.write_bytes(result)
    done("clean", "first", "--yes")
    assert [state("first"), state("second")] == ["complete", "complete"]
    done("gather", "second")


def test_nor_is_it_where_that_begins_while_its_result_is_checked(tmp_path: Path) -> None:
    done("run", "first.yaml")
    run = run_in(tmp_path, "first")
    waste = find_waste(run, logs=False)

    def begin(checked: int, total: int) -> None:
        done("plan", "second.yaml")
        Waiting(str(run_in(tmp_path, "second").path), {}, has_begun=True).write(run)

    with pytest.raises(InputError, match="until what is made of it is complete: second"):
        clean(run, waste, begin)
    assert list(run.attempts.glob("*.data"))
    assert not run.cleaned.exists()


def test_outputs_of_a_run_that_was_cleaned_are_no_samples(tmp_path: Path) -> None:
    """Those of its manifest alone are."""
    done("run", "first.yaml")
    done("clean", "first", "--yes")
    code, said = command("submit", "second.yaml")
    assert code == 1
    assert "run first was cleaned, and with it its outputs went" in said
    assert run_in(tmp_path, "second").submission_numbers() == []
    write_run(tmp_path, "second", {"run": "first"}, executor="instant")
    done("submit", "second.yaml")
    assert state("second") == "complete"


def test_what_it_reads_is_held_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done("run", "first.yaml")
    seen: list[int] = []
    start = InstantExecutor.start

    def starting(self: InstantExecutor, run: RunDir, made: Sequence[Submission], *, attached: bool) -> list[Submission]:
        seen.append(command("clean", "first", "--yes")[0])
        return start(self, run, made, attached=attached)

    monkeypatch.setattr(InstantExecutor, "start", starting)
    done("run", "second.yaml")
    assert seen == [2]


def test_what_becomes_complete_while_a_run_is_submitted_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan was made before, without a seal, so that no array task would compute it."""
    wait = downstream.wait

    def late(run: RunDir, config: Config) -> Link | None:
        done("submit", "first")
        return wait(run, config)

    monkeypatch.setattr(downstream, "wait", late)
    done("submit", "second.yaml")
    assert state("second") == "complete"
    upstream = Upstream.of(Plan.read(run_in(tmp_path, "second").plan))
    assert upstream is not None
    assert upstream.seal


def test_who_is_late_to_start_it_does_not_say_that_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    done("submit", "second.yaml")
    begin = downstream._start

    def late(waiting: Waiting) -> None:
        begin(waiting)  # another process does
        raise RunError("submission 1 is running these shards now")

    monkeypatch.setattr(downstream, "_start", late)
    done("submit", "first")
    assert state("second") == "complete"
    assert not is_waiting("second")


def test_a_run_whose_samples_are_anothers_is_not_extended() -> None:
    done("run", "first.yaml")
    done("run", "second.yaml")
    code, said = command("extend", "second.yaml")
    assert code == 2
    assert "its samples are those of run first: extend that one, and compute this one anew" in said


def test_a_run_that_has_grown_is_another_one(tmp_path: Path) -> None:
    write_run(tmp_path, "first", "data.csv", executor="instant", data={"id": "x"})
    done("run", "first.yaml")
    done("run", "second.yaml")
    write_rows(tmp_path, 50)
    done("extend", "first.yaml")
    assert "outdated: run first was computed again" in command("status", "second")[1]
    done("run", "first")
    done("run", "second.yaml", "--fresh")
    assert Plan.read(run_in(tmp_path, "second").plan).rows == 50


def test_a_damaged_note_keeps_no_other_run_from_beginning(tmp_path: Path) -> None:
    write_run(tmp_path, "other", {"run": "first"}, executor="instant")
    done("submit", "second.yaml", "other.yaml")
    (note,) = run_in(tmp_path, "first").downstream.glob("second-*")
    note.write_bytes(note.read_bytes().replace(b"instant", b"constant"))
    done("submit", "first")
    assert state("other") == "complete"
    code, said = command("status", "second")
    assert code == 1
    assert "second-" in said
    assert "remove it, and submit that run again" in said
    note.unlink()
    done("submit", "second")
    assert state("second") == "complete"


def test_a_folder_that_takes_no_note_is_told(tmp_path: Path) -> None:
    """Another user's run, say."""
    run_in(tmp_path, "first").downstream.write_text("")
    code, said = command("submit", "second.yaml")
    assert code == 2
    assert "so second cannot wait for first: submit it when that is complete" in said


def test_a_run_is_given_once() -> None:
    code, said = command("submit", "first.yaml", "first")
    assert code == 2
    assert "first.yaml and first are of the same run" in said


def test_a_run_that_goes_on_waits_for_none_that_waits_for_it() -> None:
    done("submit", *CHAIN[1:])
    for name, why in (("first", "is this run itself"), ("second", "in a circle: first after second after first")):
        code, said = command("submit", "first", "--set", f"after=[{name}]")
        assert (code, why in said) == (2, True), said
    assert states() == ["planned"] * 3


def test_a_run_that_goes_on_stays_where_and_what_it_is(tmp_path: Path) -> None:
    done("plan", "first.yaml")
    for arguments in (("rerun", "first"), ("submit", "first"), ("run", "first")):
        code, said = command(*arguments, "--set", "name=other")
        assert code == 2
        assert f"another run: launcher plan {tmp_path}/first.yaml --set name=..." in said
    assert state("first") == "planned"
