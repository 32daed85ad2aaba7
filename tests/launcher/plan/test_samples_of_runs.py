"""Samples of another run: planned from its rows as they are now; what changes there is told, and never mixed."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import RunError
from jobs.gather.gather import gather
from jobs.storage.plans import Plan
from jobs.storage.samples import Samples
from jobs.storage.spans import Spans
from jobs.storage.upstreams import ROW, Upstream
from launcher.runs.submissions import Outcome
from tests.support.builders import AttemptWriter, submit
from tests.support.chains import run_in, write_rows, write_run
from tests.support.instant_executor import command, instant_executor

OUTPUTS = ["text", "vector"]


@pytest.fixture(autouse=True)
def instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with instant_executor():
        yield


def write_both(folder: Path, second: Any = None, **sections: Any) -> None:
    write_run(folder, "first", write_rows(folder), executor="instant", **sections)
    write_run(folder, "second", {"run": "first", "outputs": OUTPUTS, **(second or {})}, executor="instant")


def done(*arguments: object) -> str:
    code, said = command(*arguments)
    assert code == 0, said
    return said


def refused(*arguments: object) -> str:
    code, said = command(*arguments)
    assert code == 2, said
    return said


def ids_and_rows(folder: Path, name: str) -> list[tuple[str, int]]:
    run = run_in(folder, name)
    return [(sample.id, sample[ROW]) for sample in Samples(run.manifest).rows(0, Plan.read(run.plan).rows)]


def compute_first(folder: Path, bad: tuple[int, ...] = (), number: int = 1, rows: Spans | None = None) -> None:
    """Its array tasks' work, of which these samples fail, and its result."""
    run = run_in(folder, "first")
    submit(run, number, tasks=1, rows=rows)
    writer = AttemptWriter(run, number)
    writer.commit_all(rows or Spans([(0, Plan.read(run.plan).rows)]), bad=bad)
    writer.end()
    gather(run)
    Outcome(time.time()).write(run, number)


def test_before_the_other_run_is_complete_all_its_rows_are_planned(tmp_path: Path) -> None:
    write_both(tmp_path)
    done("plan", "first.yaml")
    done("plan", "second.yaml")
    plan = Plan.read(run_in(tmp_path, "second").plan)
    upstream = Upstream.of(plan)
    assert (plan.rows, plan.id_column, plan.after) == (40, "id", (str(run_in(tmp_path, "first").path),))
    assert upstream == Upstream(str(run_in(tmp_path, "first").path), None, tuple(OUTPUTS), False, "")
    assert ids_and_rows(tmp_path, "second") == [(str(row), row) for row in range(40)]


def test_once_it_is_samples_that_failed_are_left_out_and_told(tmp_path: Path) -> None:
    write_both(tmp_path)
    done("plan", "first.yaml")
    before = done("plan", "second.yaml")
    compute_first(tmp_path, bad=(3, 20, 21))
    said = done("plan", "second.yaml")
    assert "left out" not in before
    assert "planned anew: the samples in data.manifest changed: 40 rows then, 37 now" in said
    assert "left out: 3 samples that failed in first, see `launcher errors first`" in said
    expected = [row for row in range(40) if row not in (3, 20, 21)]
    assert ids_and_rows(tmp_path, "second") == [(str(row), row) for row in expected]
    assert "already planned, nothing changed" in done("plan", "second.yaml")


def test_they_are_kept_where_that_is_chosen(tmp_path: Path) -> None:
    write_both(tmp_path, {"failed": "keep"})
    done("plan", "first.yaml")
    compute_first(tmp_path, bad=(3,))
    done("plan", "second.yaml")
    assert len(ids_and_rows(tmp_path, "second")) == 40
    upstream = Upstream.of(Plan.read(run_in(tmp_path, "second").plan))
    assert upstream is not None
    assert upstream.keeps_failed


def test_a_plan_says_what_is_read_in_the_other_run_and_what_may_fail_there_and_not_here(tmp_path: Path) -> None:
    write_both(tmp_path, {"failed": "keep"})
    done("plan", "first.yaml")
    said = done("plan", "second.yaml", "--set", "node.max_failed_samples=2", "--set", "name=strict")
    assert "x: int64, id: string, upstream_row: int64, text: in run first, vector: in run first" in said
    assert "samples that fail in first fail here too: node.max_failed_samples is 2 here, and 1.0 there" in said
    assert "fail here too" not in done("plan", "second.yaml")


def test_ids_go_on_from_run_to_run(tmp_path: Path) -> None:
    write_both(tmp_path)
    write_run(tmp_path, "third", {"run": "second"}, executor="instant")
    done("plan", "first.yaml")
    compute_first(tmp_path, bad=(0, 1))
    done("plan", "second.yaml")
    done("plan", "third.yaml")
    assert ids_and_rows(tmp_path, "third") == [(str(row + 2), row) for row in range(38)]
    sample = next(Samples(run_in(tmp_path, "third").manifest).rows(5, 6))
    assert dict(sample) == {"x": 7, "id": "7", ROW: 5}


def test_columns_are_chosen_and_the_ids_stay(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("name,x,y\na,1,2\nb,3,4\n")
    write_run(tmp_path, "first", "data.csv", executor="instant", data={"id": "name", "shards": 1})
    write_run(tmp_path, "second", {"run": "first", "columns": ["y"]}, executor="instant", data={"shards": 1})
    done("plan", "first.yaml")
    done("plan", "second.yaml")
    sample = next(Samples(run_in(tmp_path, "second").manifest).rows(1, 2))
    assert (sample.id, dict(sample)) == ("b", {"name": "b", "y": 4, ROW: 1})


def test_one_of_several_manifests_is_chosen_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("x\n7\n8\n9\n")
    write_run(tmp_path, "first", {"train": write_rows(tmp_path), "test": "test.csv"}, executor="instant")
    write_run(tmp_path, "second", {"run": "first", "manifest": "test"}, executor="instant", data={"shards": 1})
    done("plan", "first.yaml")
    done("plan", "second.yaml")
    samples = list(Samples(run_in(tmp_path, "second").manifest).rows(0, 3))
    assert [(sample["x"], sample[ROW], sample.id) for sample in samples] == [(7, 0, "0"), (8, 1, "1"), (9, 2, "2")]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a key": ({"output": ["text"]}, r"data\.manifest\.output: unknown key\. Did you mean outputs\?"),
    "a choice": ({"failed": "drop"}, r"data\.manifest\.failed: must be 'omit' or 'keep', not \"drop\""),
    "a run": ({"run": "firts"}, r"data\.manifest\.run: there is no run .*/runs/firts; plan it first"),
    "a column": ({"columns": ["xx"]}, r"first: there is no column 'xx' \(data\.manifest\.columns\).*valid: x$"),
    "a manifest": ({"manifest": "train"}, r"run first has no manifest 'train'; it has only one, without a name"),
    "an output": (
        {"outputs": ["txt"]},
        r"data\.manifest\.outputs: run first has no output 'txt'; did you mean text\?; it has b",
    ),
    "itself": ({"run": "second"}, r"data\.manifest\.run: is this run itself"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_there_is_told_with_what_is(tmp_path: Path, what: str) -> None:
    changes, expected = WRONG[what]
    write_both(tmp_path, changes)
    done("run", "first.yaml")
    assert re.search(expected, refused("plan", "second.yaml"), re.MULTILINE)


def test_a_column_that_may_be_an_output_is_told_as_that(tmp_path: Path) -> None:
    write_run(tmp_path, "first", write_rows(tmp_path), executor="instant")
    write_run(
        tmp_path, "second", {"run": "first", "outputs": ["text"]}, "jobs.command:Command", {"command": ["echo", "{n}"]}
    )
    done("run", "first.yaml")
    said = refused("plan", "second.yaml")
    assert "needs the column 'n', which the manifest lacks" in said
    assert "where it is an output of first, say so: data.manifest.outputs: [text, n]" in said


def test_a_column_and_an_output_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("x,text\n1,a\n")
    write_run(tmp_path, "first", "data.csv", executor="instant", data={"shards": 1})
    write_run(tmp_path, "second", {"run": "first", "outputs": OUTPUTS}, executor="instant", data={"shards": 1})
    done("run", "first.yaml")
    assert "'text' is a column, and an output that is wanted" in refused("plan", "second.yaml")
    done("plan", "second.yaml", "--set", "data.manifest.columns=[x]")


def test_runs_in_a_circle_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "a", write_rows(tmp_path), executor="instant")
    write_run(tmp_path, "b", {"run": "a"}, executor="instant")
    write_run(tmp_path, "c", {"run": "b"}, executor="instant")
    for name in "abc":
        done("plan", f"{name}.yaml")
    said = refused("plan", "a.yaml", "--set", "after=[c]")
    assert "after=[c]: the runs come after each other in a circle: a after c after b after a" in said
    write_run(tmp_path, "a", "data.csv", executor="instant", after=["c"])
    assert "these runs come after each other in a circle: " in refused("submit", "a.yaml", "b.yaml", "c.yaml")


# --- what has been computed from a run that was computed again since


def outdated(folder: Path) -> None:
    """The second run is complete, and then some rows of the first are computed again."""
    write_both(folder)
    done("plan", "first.yaml")
    compute_first(folder)
    done("run", "second.yaml")
    assert "second  complete" in done("status", "second")
    compute_first(folder, number=2, rows=Spans([(8, 12)]))


def test_that_is_told_and_refused(tmp_path: Path) -> None:
    outdated(tmp_path)
    code, said = command("status", "second")
    assert code == 1
    assert "second  incomplete: 40 of 40" in said
    assert "outdated: run first was computed again since this run was planned" in said
    assert "--keep-results" in said
    assert said.splitlines()[-1] == "next: launcher rerun second --fresh"
    assert "incomplete" in next(line for line in done("list").splitlines() if line.startswith("second"))
    document = json.loads(command("status", "second", "--json")[1])
    assert (document["state"], document["outdated"]) == (
        "incomplete",
        "run first was computed again since this run was planned",
    )
    with pytest.raises(RunError, match="run first was computed again since this run was planned"):
        gather(run_in(tmp_path, "second"))
    assert "run first was computed again" in refused("run", "second.yaml")
    code, said = command("export", "second", "out", "--format", "numpy")
    assert (code, "run first was computed again" in said) == (1, True)


def test_so_is_what_was_made_of_that_in_turn_until_it_is_put_right(tmp_path: Path) -> None:
    write_run(tmp_path, "third", {"run": "second", "outputs": OUTPUTS}, executor="instant")
    write_both(tmp_path)
    done("plan", "first.yaml")
    compute_first(tmp_path)
    done("run", "second.yaml")
    done("run", "third.yaml")
    compute_first(tmp_path, number=2, rows=Spans([(8, 12)]))
    code, said = command("status", "third")
    assert (code, "third  incomplete" in said) == (1, True)
    assert "outdated: run first was computed again since run second was planned" in said
    assert said.splitlines()[-1] == "next: launcher rerun second --fresh"
    with pytest.raises(RunError, match=r"What is made of that comes first: launcher status .*/runs/second"):
        gather(run_in(tmp_path, "third"))
    done("rerun", "second", "--fresh")
    assert "outdated: run second was computed again since this run was planned" in command("status", "third")[1]
    done("rerun", "third", "--fresh")
    assert "third  complete" in done("status", "third")


def test_results_that_stay_right_are_kept(tmp_path: Path) -> None:
    outdated(tmp_path)
    assert "kept, despite: run first was computed again" in done("rerun", "second", "--keep-results")
    assert "second  complete" in done("status", "second")
    gather(run_in(tmp_path, "second"))
    assert "already planned, nothing changed" in done("plan", "second.yaml")
    assert [one["changes"] for one in Plan.read(run_in(tmp_path, "second").plan).kept] == [
        ["run first was computed again"]
    ]


def test_so_it_is_where_all_of_the_other_was_computed_anew(tmp_path: Path) -> None:
    """Its plan and its submissions are then called what they were."""
    write_both(tmp_path)
    done("run", "first.yaml")
    done("run", "second.yaml")
    done("run", "first.yaml", "--fresh")
    assert run_in(tmp_path, "first").submission_numbers() == [1]
    assert "outdated: run first was computed again" in command("status", "second")[1]
    assert "run first was computed again" in refused("run", "second.yaml")


def test_nobody_can_keep_what_is_made_of_a_run_that_is_not_complete(tmp_path: Path) -> None:
    """Without its seal it would never be outdated any more."""
    write_both(tmp_path)
    done("plan", "first.yaml")
    compute_first(tmp_path)
    done("run", "second.yaml")
    submit(run_in(tmp_path, "first"), 2, tasks=1, rows=Spans([(8, 16)]))
    known = Plan.read(run_in(tmp_path, "second").plan)
    with AttemptWriter(run_in(tmp_path, "first"), 2) as attempt:
        attempt.commit(8, 12)
        attempt.beat()
    assert "run first is not complete now" in refused("rerun", "second", "--keep-results")
    assert Plan.read(run_in(tmp_path, "second").plan) == known


def test_what_was_left_out_stays_known_where_results_are_kept(tmp_path: Path) -> None:
    write_both(tmp_path)
    done("plan", "first.yaml")
    compute_first(tmp_path, bad=(20,))
    done("run", "second.yaml")
    compute_first(tmp_path, number=2, rows=Spans([(8, 12)]))
    done("rerun", "second", "--keep-results")
    upstream = Upstream.of(Plan.read(run_in(tmp_path, "second").plan))
    assert upstream is not None
    assert upstream.omitted == 1


def test_a_damaged_manifest_of_the_other_is_not_taken_over(tmp_path: Path) -> None:
    write_both(tmp_path)
    done("run", "first.yaml")
    manifest = run_in(tmp_path, "first").manifest
    manifest.write_bytes(manifest.read_bytes().replace((39).to_bytes(8, "little"), (99).to_bytes(8, "little")))
    code, said = command("plan", "second.yaml")
    assert code == 1
    assert "does not have the samples that were planned" in said


def test_where_the_other_has_new_samples_only_what_is_taken_is_told(tmp_path: Path) -> None:
    """Neither results that are kept, nor new samples alone, which only the first one can have."""
    write_both(tmp_path)
    done("run", "first.yaml")
    done("run", "second.yaml")
    write_rows(tmp_path, 41)
    done("extend", "first")
    done("rerun", "first")
    done("gather", "first")
    said = command("status", "second")[1]
    assert "outdated: run first was computed again since this run was planned" in said
    assert "It has other samples, too. To compute everything again: launcher rerun second --fresh" in said
    refusals = [refused("rerun", "second"), refused("rerun", "second", "--keep-results"), said]
    assert not [words for words in refusals if "extend" in words or "with --keep-results" in words]
    done("rerun", "second", "--fresh")
    assert "second  complete: 41 of 41" in done("status", "second")


def test_or_all_is_computed_anew(tmp_path: Path) -> None:
    outdated(tmp_path)
    done("rerun", "second", "--fresh")
    assert "second  complete" in done("status", "second")


def test_other_samples_are_no_results_to_keep(tmp_path: Path) -> None:
    """A sample that failed then is there now."""
    write_both(tmp_path)
    done("plan", "first.yaml")
    compute_first(tmp_path, bad=(9,))
    done("run", "second.yaml")
    compute_first(tmp_path, number=2, rows=Spans([(8, 12)]))
    assert "39 rows then, 40 now" in refused("rerun", "second", "--keep-results")
    done("run", "second.yaml", "--fresh")
    assert len(ids_and_rows(tmp_path, "second")) == 40


def test_a_run_that_is_gone_changes_no_result(tmp_path: Path) -> None:
    write_both(tmp_path)
    done("run", "first.yaml")
    done("run", "second.yaml")
    run_in(tmp_path, "first").path.rename(tmp_path / "elsewhere")
    said = done("status", "second")
    assert "after runs/first  is gone" in said or "after first  is gone" in said
    assert "second  complete" in said
    gather(run_in(tmp_path, "second"))


def test_runs_that_were_moved_together_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_both(folder)
    done("run", "first.yaml")
    done("plan", "second.yaml")
    moved = folder.rename(tmp_path / "there")
    monkeypatch.chdir(moved)
    assert "already planned" in done("plan", "second.yaml")
    plan = Plan.read(run_in(moved, "second").plan)
    assert plan.after == (str(run_in(moved, "first").path),)
    upstream = Upstream.of(plan)
    assert upstream is not None
    assert upstream.run == str(run_in(moved, "first").path)
    done("run", "second.yaml")
