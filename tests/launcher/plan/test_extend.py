"""A run whose manifest has grown: what is done stays, what is new is computed, whoever is killed on the way."""

import json
import random
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import DamageError, InputError, RunError
from jobs.gather.manifest_check import check_manifest
from jobs.kinds import RunState
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.attempts import Attempts
from jobs.storage.files import write_once
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.samples import Samples
from jobs.storage.spans import Spans, union
from launcher import results
from launcher.config.config import load_config
from launcher.plan import extend as extend_module
from launcher.plan.comparison import Comparison, compare
from launcher.plan.extend import Extended, extend
from launcher.plan.plan import make_plan
from launcher.runs.submissions import Outcome, update
from launcher.status.reader import StatusReader
from tests.support.builders import AttemptWriter, submit
from tests.support.chaos import amount
from tests.support.crash_states import crash_states, restore
from tests.support.disk_calls import disk_calls
from tests.support.instant_executor import command, go_on, instant_executor
from tests.support.launcher_runs import launcher, newest, run_of, start, write_config
from tests.support.patience import PATIENCE


@pytest.fixture
def instant() -> Iterator[None]:
    with instant_executor():
        yield


def write_samples(path: Path, samples: Mapping[str, int | str]) -> None:
    path.write_text("id,x\n" + "".join(f"{name},{x}\n" for name, x in samples.items()))


def numbered(start: int, stop: int) -> dict[str, int]:
    return {f"s{number}": number for number in range(start, stop)}


def make_config(folder: Path, samples: Mapping[str, int], data: Any = None, **sections: Any) -> Path:
    config = write_config(folder, shards=3, data={"id": "id", **(data or {})}, **sections)
    write_samples(folder / "data.csv", samples)
    return config


def grow(config: Path, *, again: bool = False, given: Any = None) -> Extended:
    return extend(run_of(config), load_config(config), given, again=again)


def values(config: Path) -> dict[str, float]:
    """The result by id: y is twice x."""
    with results.open(run_of(config).path) as found:
        assert found.complete
        return dict(zip(found.ids.tolist(), found["y"][:, 0].tolist(), strict=True))


def run_to_end(config: Path) -> None:
    done = launcher(config.parent, "run", config)
    assert done.returncode == 0, done.stderr


def result_ids(run: RunDir, manifest: str | None = None) -> list[str]:
    """Of a complete result."""
    with results.open(run.path, manifest=manifest) as found:
        assert found.complete
        ids: list[str] = found.ids.tolist()
        return ids


def done_by(run: RunDir, submission: int) -> Spans:
    return union(attempt.beat.done for attempt in Attempts(run, submission).read())


def stored(run: RunDir) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.attempts.iterdir()}


def test_new_samples_are_computed_and_nothing_else(tmp_path: Path) -> None:
    config = make_config(tmp_path, numbered(0, 100))
    run = run_of(config)
    run_to_end(config)
    before, known = stored(run), Plan.read(run.plan)
    write_samples(tmp_path / "data.csv", {"early": 5, **numbered(0, 100), "late": 6})
    refused = launcher(tmp_path, "run", config)
    assert refused.returncode == 2
    assert "launcher extend toy; samples whose values have changed" in refused.stderr
    done = grow(config)
    assert (done.new, done.changed, done.gone, done.shards) == (2, 0, 0, 1)
    assert done.plan == Plan.read(run.plan)
    assert done.plan.boundaries == (*known.boundaries, 102)
    assert done.plan.fingerprint == known.fingerprint
    assert [sample.id for sample in Samples(run.manifest, done.plan.manifest_digests).rows(98, 102)] == [
        "s98", "s99", "early", "late",
    ]  # fmt: skip
    run_to_end(config)
    assert done_by(run, 2) == Spans([(100, 102)])
    assert {name: data for name, data in stored(run).items() if name in before} == before
    assert values(config) == {name: 2.0 * x for name, x in {**numbered(0, 100), "early": 5, "late": 6}.items()}
    assert not make_plan(load_config(config)).is_new  # its manifest has them in another order, and all are the run's


def test_a_rerun_tells_that_the_samples_have_been_corrected(
    tmp_path: Path, instant: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It computes them as they were; what it names computes them as they are."""
    monkeypatch.chdir(tmp_path)
    config = make_config(tmp_path, numbered(0, 6))
    assert go_on(config)[0] == 0
    assert "note: " not in command("rerun", "toy")[1]
    write_samples(tmp_path / "data.csv", {**numbered(0, 6), "s3": 300})
    code, said = command("rerun", "toy")
    assert code == 0
    note = f"note: {tmp_path / 'data.csv'} has changed since this run was planned"
    assert note in said
    assert "launcher extend toy --changed" in said
    code, said = command("run", config.name)
    assert code == 2
    assert "launcher extend toy;" in said
    assert command("extend", "toy", "--changed")[0] == 0
    assert "note: " not in command("rerun", "toy")[1]
    (tmp_path / "data.csv").unlink()
    assert "note: " not in command("rerun", "toy")[1]


def test_changed_samples_stay_until_somebody_asks_for_them(tmp_path: Path) -> None:
    config = make_config(tmp_path, numbered(0, 40))
    run = run_of(config)
    run_to_end(config)
    changed = {**numbered(0, 40), "s3": 300, "s20": 200}
    write_samples(tmp_path / "data.csv", changed)
    assert (grow(config).new, Plan.read(run.plan).grown) == (0, ())
    done = grow(config, again=True)
    assert (done.new, done.changed, done.shards) == (0, 2, 0)
    batches = done.plan.table.whole_batches(Spans.parse("3,20"))
    assert union(attempt.beat.done for attempt in Attempts(run).read()) == Spans([(0, 40)]) - batches
    run_to_end(config)
    assert done_by(run, 2) == batches
    assert values(config) == {name: 2.0 * x for name, x in changed.items()}


def test_an_attempt_counts_for_the_samples_that_it_has_read(tmp_path: Path) -> None:
    config = make_config(tmp_path, numbered(0, 40))
    run = make_plan(load_config(config)).run
    submit(run)
    late = AttemptWriter(run)
    write_samples(tmp_path / "data.csv", {**numbered(0, 40), "s3": 300})
    update(run, newest(run), process=None, executor="local")
    Outcome(time.time()).write(run, 1)
    assert grow(config, again=True).changed == 1
    late.commit_all(Spans([(0, 40)]))  # it has read the samples before
    late.beat()
    first = Plan.read(run.plan).table.batch_at(3)
    assert union(attempt.beat.done for attempt in Attempts(run).read()) == Spans([(0, 40)]) - Spans([first])
    with AttemptWriter(run, generation=2) as now:
        now.commit(*first)
        now.beat()
    assert union(attempt.beat.done for attempt in Attempts(run).read()) == Spans([(0, 40)])


def test_a_run_without_ids_grows_at_its_end_alone(tmp_path: Path, instant: None) -> None:
    config = write_config(tmp_path, rows=30, shards=3)
    assert go_on(config)[0] == 0
    with (tmp_path / "data.csv").open("a") as file:
        file.write("7\n9\n")
    assert grow(config).new == 2
    assert go_on(config)[0] == 0
    assert [sample["x"] for sample in Samples(run_of(config).manifest).rows(29, 32)] == [29, 7, 9]
    with results.open(run_of(config).path) as found:
        assert found["label"].tolist() == list(range(32))
    (tmp_path / "more.csv").write_text("x\n5\n")
    with pytest.raises(InputError, match=r"does not begin with the 32 .* Give it with the new samples at its end"):
        grow(config, given=["more.csv"])
    assert grow(config, given=["data.csv", "more.csv"]).new == 1


def test_other_columns_are_refused_and_so_is_a_value_of_another_type(tmp_path: Path) -> None:
    config = make_config(tmp_path, numbered(0, 20))
    run = make_plan(load_config(config)).run
    known = Plan.read(run.plan)
    (tmp_path / "more.csv").write_text("id,y\nnew,1\n")
    with pytest.raises(InputError, match="the manifest lacks x; has also y: new samples need the columns"):
        grow(config, given=["more.csv"])
    (tmp_path / "more.csv").write_text("id,x\nnew,much\n")
    with pytest.raises(InputError, match=r"more.csv:2: row 1: column 'x': 'much' cannot be the int64"):
        grow(config, given=["more.csv"])
    write_samples(tmp_path / "data.csv", {**numbered(0, 20), "s7": "007"})
    with pytest.raises(InputError, match=r"data.csv:9: row 8: column 'x': '007' cannot be the int64"):
        grow(config)
    assert Plan.read(run.plan) == known


def test_of_several_manifests_the_last_one_grows_and_others_are_added(tmp_path: Path, instant: None) -> None:
    manifests = {"train": "data.csv", "test": "test.csv"}
    config = make_config(tmp_path, numbered(0, 30), {"manifest": manifests})
    write_samples(tmp_path / "test.csv", numbered(0, 10))
    run = run_of(config)
    assert go_on(config)[0] == 0
    write_samples(tmp_path / "more.csv", {"other": 70})
    with pytest.raises(InputError, match=r"train has new samples.* \(train-2=MANIFEST"):
        grow(config, given={"train": ["more.csv"]})
    with pytest.raises(InputError, match=r"several manifests \(train, test\): say whose"):
        grow(config, given=["more.csv"])
    write_samples(tmp_path / "test.csv", numbered(0, 12))
    done = grow(config, given={"test": ["test.csv"], "train-2": ["more.csv"]})
    assert (done.new, done.shards) == (3, 2)
    assert [(part.name, part.start, part.stop) for part in done.plan.parts] == [
        ("train", 0, 30), ("test", 30, 42), ("train-2", 42, 43),
    ]  # fmt: skip
    assert command("rerun", run.path, "--set", "executor=instant")[0] == 0
    assert result_ids(run, "test") == list(numbered(0, 12))
    assert result_ids(run, "train-2") == ["other"]
    assert result_ids(run, "train") == list(numbered(0, 30))


def test_files_that_a_glob_finds_now_are_new_samples(tmp_path: Path, instant: None) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in "bd":
        (folder / name).write_text(name)
    config = write_config(tmp_path, data={"manifest": "files/*"}, shards=2, job="Everything")
    assert go_on(config)[0] == 0
    for name in "ace":
        (folder / name).write_text(name)
    assert grow(config).new == 3
    (folder / "f").write_text("f")
    assert command("extend", run_of(config).path, tmp_path / "files" / "*")[0] == 0  # as typed anywhere
    assert go_on(config)[0] == 0
    assert result_ids(run_of(config)) == [f"files/{name}" for name in "bdacef"]


def test_what_goes_on_keeps_a_run_from_growing(tmp_path: Path) -> None:
    config = make_config(tmp_path, numbered(0, 20))
    run = make_plan(load_config(config)).run
    submit(run)
    update(run, newest(run), process=ProcessIdentity.current().to_json())
    write_samples(tmp_path / "data.csv", numbered(0, 25))
    with pytest.raises(RunError, match="submission 1 goes on, of the plan that is to grow; first: launcher cancel"):
        grow(config)


@pytest.mark.parametrize("what", ["a submission", "clean"])
def test_nor_does_it_grow_where_that_began_while_its_manifest_was_read(
    tmp_path: Path, instant: None, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    config = make_config(tmp_path, numbered(0, 100), job="Everything")
    run = run_of(config)
    assert go_on(config)[0] == 0
    known = Plan.read(run.plan)
    write_samples(tmp_path / "data.csv", numbered(0, 110))

    def comparing(*arguments: Any) -> Comparison:
        if what == "clean":
            assert command("clean", run.path, "--yes")[0] == 0
        else:
            submit(run, 2, rows=Spans([(0, 4)]))
        return compare(*arguments)

    monkeypatch.setattr(extend_module, "compare", comparing)
    with pytest.raises(RunError, match="was cleaned" if what == "clean" else "submission 2 goes on"):
        grow(config)
    assert Plan.read(run.plan) == known
    assert not list(run.path.glob(".manifest*"))


@pytest.mark.parametrize("is_seen", [False, True], ids=["before", "after"])
def test_of_extend_and_clean_at_once_one_gives_way(
    tmp_path: Path, instant: None, monkeypatch: pytest.MonkeyPatch, is_seen: bool
) -> None:
    """Clean runs from its beginning to its end just before the larger plan can be seen, or just after."""
    config = make_config(tmp_path, numbered(0, 100), job="Everything")
    run = run_of(config)
    assert go_on(config)[0] == 0
    known = Plan.read(run.plan)
    write_samples(tmp_path / "data.csv", numbered(0, 110))
    cleaned: list[int] = []

    def writing(path: Path, data: bytes) -> bytes:
        found = write_once(path, data) if is_seen else b""
        cleaned.append(command("clean", run.path, "--yes")[0])
        return found or write_once(path, data)

    monkeypatch.setattr(extend_module, "write_once", writing)
    if is_seen:
        assert grow(config).plan.rows == 110
        assert cleaned == [2]
        assert go_on(config)[0] == 0
        assert result_ids(run) == list(numbered(0, 110))
        return
    with pytest.raises(RunError, match="was cleaned"):
        grow(config)
    assert cleaned == [0]
    assert Plan.read(run.plan) == known
    assert [path.name for path in run.path.glob("*plan*")] == ["plan.json"]
    assert result_ids(run) == list(numbered(0, 100))


def test_a_manifest_of_several_times_that_is_gone_is_missed_at_once(tmp_path: Path, instant: None) -> None:
    """Before anything is submitted: array tasks would find none, and it cannot be made of the sources of now."""
    config = make_config(tmp_path, numbered(0, 100), job="Everything")
    assert go_on(config)[0] == 0
    write_samples(tmp_path / "data.csv", numbered(0, 110))
    grow(config)
    run_of(config).manifest.unlink()
    with pytest.raises(DamageError, match=r"manifest\.arrow: is gone"):
        make_plan(load_config(config))


def test_who_looks_at_a_run_sees_that_it_has_grown(tmp_path: Path, instant: None) -> None:
    config = make_config(tmp_path, numbered(0, 100), job="Everything")
    assert go_on(config)[0] == 0
    reader = StatusReader(run_of(config))
    assert reader.read().total == 100
    write_samples(tmp_path / "data.csv", numbered(0, 110))
    grow(config)
    status = reader.read()
    assert (status.total, status.state) == (110, RunState.INCOMPLETE)


def test_new_samples_have_their_own_shards_by_cost(tmp_path: Path) -> None:
    config = make_config(tmp_path, numbered(1, 31), {"cost": "x"})
    make_plan(load_config(config))
    write_samples(tmp_path / "data.csv", {**numbered(1, 31), **{f"n{i}": 100 if i == 20 else 1 for i in range(21)}})
    boundaries = grow(config).plan.boundaries
    assert (len(boundaries), boundaries[3], boundaries[-2:]) == (7, 30, (50, 51))  # the dear one is alone


def test_the_commands_tell_what_is_new(tmp_path: Path, instant: None) -> None:
    config = make_config(tmp_path, numbered(0, 20))
    assert go_on(config)[0] == 0
    write_samples(tmp_path / "more.csv", {"s2": 200, "new": 1})
    run = run_of(config).path
    code, said = command("extend", run, tmp_path / "more.csv", "--json")
    assert code == 0, said
    told = json.loads(said[said.index("{") :])
    assert {key: told[key] for key in ("new", "changed", "gone", "computed_again", "samples", "shards")} == {
        "new": 1, "changed": 1, "gone": None, "computed_again": False, "samples": 21, "shards": 4,
    }  # fmt: skip
    assert "20 of 21 samples (95%)" in command("list", run.parent)[1]
    code, said = command("verify", run)
    assert code == 1
    assert "is from before the run was extended, when it had 20 rows" in said
    assert "row 20 added" in said
    assert go_on(config)[0] == 0  # the config's own manifest is as it was
    code, said = command("verify", run, "--json")
    assert code == 0
    assert json.loads(said[said.index("{") :])["extended"][0]["sources"] == [str(tmp_path / "more.csv")]
    with results.open(run) as found:
        assert found.ids[20] == "new"
        assert found.provenance["grown"][0]["rows"] == 21


def test_a_config_extends_its_run_by_samples_alone(tmp_path: Path, instant: None) -> None:
    config = make_config(tmp_path, numbered(0, 20))
    assert go_on(config)[0] == 0
    assert "nothing new; the run has all 20 samples" in command("extend", config, "--changed")[1]
    write_samples(tmp_path / "more.csv", {"new": 1})
    config.write_text(config.read_text().replace('"data.csv"', '["data.csv", "more.csv"]'))
    assert "new: 1 sample (row 20) in 1 shard" in command("extend", config)[1]
    assert go_on(config)[0] == 0
    config.write_text(config.read_text().replace('"batch_size": 8', '"batch_size": 4'))
    code, said = command("extend", config)
    assert code == 2
    assert "a run grows by samples alone" in said
    assert "node.batch_size: 8 -> 4" in said


def test_of_two_that_extend_a_run_at_once_one_has_its_way(tmp_path: Path) -> None:
    config = make_config(tmp_path, numbered(0, 20))
    run = make_plan(load_config(config)).run
    for number in range(3):
        write_samples(tmp_path / f"more-{number}.csv", {f"n{number}": number})
    both = [start(tmp_path, "extend", run.path, f"more-{number}.csv") for number in range(3)]
    said = [process.communicate(timeout=PATIENCE)[0] for process in both]
    plan = Plan.read(run.plan)
    check_manifest(run, plan)
    added = {sample.id for sample in Samples(plan.manifest_file(run)).rows(20, plan.rows)}
    for number, process in enumerate(both):
        assert (process.returncode == 0) == (f"n{number}" in added)
        assert process.returncode == 0 or "another launcher has extended this run meanwhile" in said[number]
    assert len(plan.grown) == len(added) >= 1


def test_every_state_that_a_crash_may_leave_is_the_old_plan_or_the_new_one(tmp_path: Path) -> None:
    config = make_config(tmp_path, numbered(0, 40))
    run = run_of(config)
    run.path.parent.mkdir()
    calls = disk_calls(tmp_path, run.path.parent)
    recording = calls.recording()

    def recorded(*arguments: object) -> int:
        done = launcher(tmp_path, *arguments, variables=recording)
        assert done.returncode == 0, done.stderr
        return len(list(calls.recorded()))

    planned = recorded("plan", config)
    write_samples(tmp_path / "data.csv", {**numbered(0, 45), "s3": 300})
    recorded("extend", run.path, "--changed")
    old_and_new = {1: 40, 2: 45}
    seen = set()
    made = list(calls.recorded())
    for _, state in crash_states(made, run.path.parent, random.Random(5), amount("STATES", 24), planned):
        shutil.rmtree(run.path, ignore_errors=True)
        restore(state, run.path.parent)
        plan = Plan.read(run.plan)
        check_manifest(run, plan)
        assert plan.rows == old_and_new[plan.generation]
        seen.add(plan.generation)
        assert grow(config, again=True).plan.rows == 45
        assert sum(1 for path in run.path.iterdir() if path.name.startswith("manifest")) == 1
    assert seen == {1, 2}


def test_what_was_added_is_not_added_again(tmp_path: Path, instant: None) -> None:
    config = make_config(tmp_path, numbered(0, 10))
    assert go_on(config)[0] == 0
    write_samples(tmp_path / "more.csv", {"new": 1})
    assert grow(config, given=["more.csv"]).new == 1
    assert grow(config, given=["more.csv"]).new == 0
    assert go_on(config)[0] == 0
    assert result_ids(run_of(config)) == [*numbered(0, 10), "new"]
