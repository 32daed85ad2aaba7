"""Several manifests in one run: a result each, whole by itself; one status; the same shards, workers and restarts."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import DamageError, IncompleteError, InputError
from jobs.gather.gather import gather
from jobs.gather.verify import verify
from jobs.storage.plans import FORMAT, Plan
from jobs.storage.records import JobSpec, Part
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from launcher import results
from launcher.config.config import load_config
from launcher.plan.plan import make_plan
from launcher.runs.submissions import Outcome
from launcher.status.reader import StatusReader
from tests.support.builders import (
    AttemptWriter,
    batches_of,
    build_plan,
    change_plan,
    damage,
    everything,
    flip_byte,
    owner_of,
    write_shard,
)
from tests.support.launcher_runs import ROOT, document, launcher, newest, run_of, status, write_config

PARTS = (Part("train", 0, 50), Part("none", 50, 50), Part("test", 50, 64))


def build_parts(
    path: Path, boundaries: tuple[int, ...] = (0, 20, 50, 64), parts: tuple[Part, ...] = PARTS, **options: Any
) -> RunDir:
    """A run of several manifests, all shards done; samples 3, 16 and 53 failed."""
    run = build_plan(path, boundaries, **options)
    change_plan(run, parts=parts)
    for index in range(len(boundaries) - 1):
        write_shard(run, index, failed=[3, 16, 53])
    return run


def datasets(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def sliced(whole: Mapping[str, np.ndarray], part: Part) -> dict[str, np.ndarray]:
    """What the result of a part has to hold, cut from a result of all rows."""
    errors = (whole["errors/row"] >= part.start) & (whole["errors/row"] < part.stop)
    first, end = np.searchsorted(whole["errors/row"], (part.start, part.stop))
    found: dict[str, np.ndarray] = {}
    for name in whole:
        group, _, last = name.rpartition("/")
        start, stop = (int(first), int(end)) if group.startswith("errors") else (part.start, part.stop)
        if last == "offsets":
            found[name] = whole[name][start : stop + 1] - whole[name][start]
            values = whole[f"{group}/values"]
            found[f"{group}/values"] = values[whole[name][start] : whole[name][stop]]
        elif last != "values":
            found[name] = whole[name][errors] if group == "errors" else whole[name][start:stop]
    found["errors/row"] = found["errors/row"] - part.start
    if "id" in whole:
        found["id"] = np.arange(part.rows)
    return found


def assert_same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found[name], values, err_msg=name)


# --- plan


def test_the_shards_of_a_part_are_those_that_have_its_rows(tmp_path: Path) -> None:
    plan = Plan.read(build_parts(tmp_path / "run").plan)
    assert [plan.shards_of(part) for part in PARTS] == [Spans([(0, 2)]), Spans(), Spans([(2, 3)])]
    with pytest.raises(InputError, match=r"no manifest 'tain'; did you mean 'train'\?; the run has train, none, test"):
        plan.part("tain")


def test_the_plan_of_one_manifest_says_nothing_of_parts(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 8))
    data = json.loads(run.plan.read_text())
    assert "parts" not in data
    assert data["format"] == FORMAT
    assert Plan.read(run.plan).results == (Part(None, 0, 8),)


# --- gather and verify


@st.composite
def drawn_runs(draw: st.DrawFn) -> dict[str, Any]:
    shards = draw(st.lists(st.lists(st.integers(1, 9), max_size=3), min_size=1, max_size=4).filter(any))
    ends = np.cumsum([0, *(sum(sizes) for sizes in shards)]).tolist()
    boundaries = np.cumsum([0, *(size for sizes in shards for size in sizes)]).tolist()
    parts = tuple(Part(f"p{n}", ends[n], ends[n + 1]) for n in range(len(shards)))
    return {
        "boundaries": boundaries,
        "parts": parts,
        "failed": draw(st.sets(st.integers(0, boundaries[-1] - 1))),
        "with_ids": draw(st.booleans()),
        "missing": draw(st.sets(st.integers(0, len(boundaries) - 2))),
    }


@given(drawn_runs())
def test_each_part_holds_its_rows_of_what_one_result_would_hold(drawn: dict[str, Any]) -> None:
    boundaries = drawn["boundaries"]
    with tempfile.TemporaryDirectory() as folder:
        ids = [f"id{row}" * (row % 3 + 1) for row in range(boundaries[-1])] if drawn["with_ids"] else None
        run = build_plan(Path(folder) / "run", boundaries, ids=ids, batch_size=4)
        for index in range(len(boundaries) - 1):
            shard = Plan.read(run.plan).shard(index)
            left_out = index in drawn["missing"]
            batches = list(batches_of(Plan.read(run.plan), shard))[1:] if left_out else None
            write_shard(run, index, failed=drawn["failed"], batches=batches, done=not left_out)
        gather(run, allow_missing=True)
        whole = datasets(run.result)
        change_plan(run, parts=drawn["parts"])
        report = gather(run, allow_missing=True)
        assert [one.name for one in report.parts] == [part.name for part in drawn["parts"]]
        for part, one in zip(drawn["parts"], report.parts, strict=True):
            assert_same(datasets(run.result_of(part.name)), sliced(whole, part))
            assert one.rows == part.rows
        assert report.rows == boundaries[-1]
        assert report.missing == int((whole["status"] == 0).sum())
        assert report.complete == all(one.complete for one in report.parts)
        assert verify(run).ok


def test_a_part_without_samples_has_the_outputs_of_the_others(tmp_path: Path) -> None:
    run = build_parts(tmp_path / "run")
    gather(run)
    with results.open(run.path, manifest="none") as found:
        assert len(found) == 0
        assert set(found.outputs) == set(everything(np.arange(1)))
        assert found["vector"].shape == (0, 4)
        assert list(found["text"]) == []


def test_the_provenance_names_the_part(tmp_path: Path) -> None:
    run = build_parts(tmp_path / "run")
    gather(run)
    with results.open(run.path, manifest="test") as found:
        assert found.provenance["part"] == {"name": "test", "start": 50, "stop": 64}
        assert found.provenance["shards"] == 1


def test_each_part_is_reduced_by_itself(tmp_path: Path) -> None:
    run = build_parts(tmp_path / "run", job=JobSpec("tests.jobs.gather.test_gather:Mean"))
    gather(run)
    with results.open(run.path, manifest="test") as found:
        assert found.summary["rows"].tolist() == [row for row in range(14) if row != 3]
        ok = np.array([row for row in range(50, 64) if row != 53])
        np.testing.assert_allclose(found.summary["mean"], everything(ok)["vector"].mean(axis=0))
    with results.open(run.path, manifest="train") as found:
        assert found.summary["count"] == 48
    with results.open(run.path, manifest="none") as found:
        assert found.summary == {}


def test_nothing_is_written_before_every_part_is_done(tmp_path: Path) -> None:
    run = build_parts(tmp_path / "run")
    run.journal(owner_of(run, 50)).unlink()
    write_shard(run, 2, batches=[50], failed=[53], done=False)
    with pytest.raises(IncompleteError, match=r"1 of 3 shards are not done \(2\)"):
        gather(run)
    assert not list(run.path.glob("result*"))
    report = gather(run, allow_missing=True)
    assert [one.complete for one in report.parts] == [True, True, False]
    assert not report.complete


def test_damage_in_one_part_leaves_the_rows_of_the_others(tmp_path: Path) -> None:
    run = build_parts(tmp_path / "run")
    gather(run)
    damage(run, 58, "vector")
    before = {name: datasets(run.result_of(name)) for name in ("train", "test")}
    with pytest.raises(DamageError, match=r"shard 2, rows 8-13"):
        gather(run)
    with pytest.raises(DamageError, match=r"result-test\.h5\): for a result of the rest move that away first"):
        gather(run, allow_missing=True)
    assert_same(datasets(run.result_of("test")), before["test"])
    run.result_of("test").unlink()
    report = gather(run, allow_missing=True)
    assert [one.missing for one in report.parts] == [0, 0, 6]
    assert_same(datasets(run.result_of("train")), before["train"])
    assert datasets(run.result_of("test"))["status"].tolist() == [1, 1, 1, 2, *[1] * 4, *[0] * 6]


def test_an_attempt_may_have_rows_of_several_parts(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 20, 50, 64))
    change_plan(run, parts=PARTS)
    with AttemptWriter(run) as writer:
        for start, stop in [(50, 64), (0, 50)]:
            writer.hold(start, stop)
            writer.commit_all(Spans([(start, stop)]), bad=[3, 16, 53])
        writer.beat()
    expected = build_parts(tmp_path / "expected")
    gather(expected)
    report = gather(run)
    assert report.complete
    assert verify(run).ok
    for part in PARTS:
        assert_same(datasets(run.result_of(part.name)), datasets(expected.result_of(part.name)))


def test_verify_looks_at_every_result(tmp_path: Path) -> None:
    run = build_parts(tmp_path / "run")
    assert verify(run).result is None
    gather(run)
    seen: list[tuple[int, int]] = []
    report = verify(run, progress=lambda done, total: seen.append((done, total)))
    assert report.ok
    assert (report.shards, report.batches) == (3, 9)
    assert [one.result for one in report.parts] == [run.result_of(part.name) for part in PARTS]
    assert seen == sorted(seen)
    assert seen[-1] == (128, 128)
    with h5py.File(run.result_of("test")) as file:
        offset = file["vector"].id.get_offset()
    flip_byte(run.result_of("test"), offset)
    report = verify(run)
    assert report.result_problems == ("test: vector: rows 0-7",)
    assert [one.ok for one in report.parts] == [True, True, False]


@pytest.mark.parametrize("name", ["train", "none"])
def test_a_run_is_complete_when_every_part_has_its_own_result(tmp_path: Path, name: str) -> None:
    run = build_parts(tmp_path / "run")
    Outcome(time.time()).write(run, 1)
    assert StatusReader(run).read().state != "complete"
    gather(run)
    assert StatusReader(run).read().state == "complete"
    path = run.result_of(name)
    if name == "train":
        path.write_bytes(run.result_of("test").read_bytes())
        assert StatusReader(run).read().state != "complete"
    path.unlink()
    assert StatusReader(run).read().state != "complete"


GATHER = """
import sys
from pathlib import Path
from jobs.gather.gather import gather
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
gather(RunDir(Path(sys.argv[1])), progress=lambda done, total: print(done, flush=True))
"""


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_gather_leaves_only_whole_results_and_the_next_one_makes_them_all(tmp_path: Path, seed: int) -> None:
    parts = (Part("a", 0, 240), Part("b", 240, 480), Part("c", 480, 800))
    run = build_parts(tmp_path / "run", tuple(range(0, 801, 8)), parts)
    gather(run, output=tmp_path / "expected-{manifest}.h5")
    expected = {part.name: datasets(tmp_path / f"expected-{part.name}.h5") for part in parts}
    with subprocess.Popen(
        [sys.executable, "-c", GATHER, str(run.path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        for _ in range(random.Random(seed).randint(1, 99)):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    there = [part.name for part in parts if run.result_of(part.name).exists()]
    for name in there:
        assert_same(datasets(run.result_of(name)), expected[name])
    gather(run)
    for part in parts:
        assert_same(datasets(run.result_of(part.name)), expected[part.name])
    assert sorted(path.name for path in run.path.glob("result*")) == ["result-a.h5", "result-b.h5", "result-c.h5"]


# --- the launcher


def write_parts(folder: Path, sizes: Mapping[str, int], order: str = "sequential", **sections: Any) -> Path:
    """A config of a manifest of each size: columns x, from 0 in each, and one of its own."""
    data = {"manifest": {name: f"{name}.csv" for name in sizes}, "order": order, **sections.pop("data", {})}
    config = write_config(folder, 1, data=data, **sections)
    for name, rows in sizes.items():
        lines = [f"{row},{name}{row}\n" for row in range(rows)]
        (folder / f"{name}.csv").write_text("".join([f"x,{name}_text\n", *lines]))
    return config


def check_toy(run: RunDir, name: str, rows: int) -> None:
    with results.open(run.path, manifest=name) as found:
        assert found.ids.tolist() == list(range(rows))
        np.testing.assert_array_equal(found["y"], np.full((rows, 4), 2.0) * np.arange(rows)[:, None])
        assert found["text"][:] == [f"row {row}" for row in range(rows)]


@pytest.mark.parametrize("order", ["sequential", "parallel"])
def test_a_run_of_several_manifests_has_a_result_of_each(tmp_path: Path, order: str) -> None:
    sizes = {"train": 60, "none": 0, "test": 20}
    config = write_parts(tmp_path, sizes, order, shards=8)
    done = launcher(tmp_path, "run", config.name)
    assert done.returncode == 0, done.stderr
    run = run_of(config)
    for name, rows in sizes.items():
        if rows:
            check_toy(run, name, rows)
        assert f"result: {run.result_of(name)}" in done.stdout
    ranges = newest(run).ranges
    assert Spans(ranges) == Spans([(0, 80)])
    firsts = [start for start, _ in ranges]
    of_test = [at for at, start in enumerate(firsts) if start >= 60]
    assert (of_test[0] < firsts.index(max(start for start in firsts if start < 60))) == (order == "parallel")
    assert (firsts == sorted(firsts)) == (order == "sequential")
    found = status(tmp_path, run)
    assert (found["state"], found["samples"]["ok"]) == ("complete", 80)
    assert [(one["name"], one["samples"]["ok"]) for one in found["manifests"]] == [
        ("train", 60),
        ("none", 0),
        ("test", 20),
    ]
    shown = launcher(tmp_path, "status", "toy").stdout
    assert "80 of 80 samples (100%) of 3 manifests" in shown
    assert "  train: 60 of 60 samples (100%)" in shown
    (listed,) = document(launcher(tmp_path, "list", "--json"))["runs"]
    assert len(listed["manifests"]) == 3
    verified = document(launcher(tmp_path, "verify", "toy", "--json"))
    assert verified["ok"]
    assert [one["name"] for one in verified["manifests"]] == list(sizes)
    gathered = document(launcher(tmp_path, "gather", "toy", "--json"))
    assert gathered["result"].endswith("result-{manifest}.h5")
    assert [Path(one["result"]).name for one in gathered["manifests"]] == [f"result-{name}.h5" for name in sizes]
    assert "every shard is done and there is a result" in launcher(tmp_path, "submit", "toy").stdout


def test_plan_tells_the_shards_of_each_manifest(tmp_path: Path) -> None:
    config = write_parts(tmp_path, {"train": 60, "test": 20}, shards=8)
    shown = launcher(tmp_path, "plan", config.name).stdout
    assert "samples: 80 in 8 shards of 10\n  train: 60 in 6 shards\n  test: 20 in 2 shards\n" in shown
    found = document(launcher(tmp_path, "plan", config.name, "--json"))
    assert found["manifests"] == [
        {"name": "train", "samples": 60, "shards": 6}, {"name": "test", "samples": 20, "shards": 2},
    ]  # fmt: skip


def test_results_go_where_the_output_path_says(tmp_path: Path) -> None:
    sizes = {"train": 8, "test": 8}
    config = write_parts(tmp_path, sizes, output={"path": "out/{manifest}/y.h5"})
    done = launcher(tmp_path, "plan", config.name)
    assert done.returncode == 2
    for name in sizes:
        assert f"output.path: no such folder: {tmp_path}/out/{name}" in done.stderr
        (tmp_path / "out" / name).mkdir(parents=True)
    done = launcher(tmp_path, "run", config.name)
    assert done.returncode == 0, done.stderr
    for name, rows in sizes.items():
        check_toy(run_of(config), name, rows)
        assert (tmp_path / "out" / name / "y.h5").exists()


def test_the_frozen_config_of_several_manifests_gives_the_same_run(tmp_path: Path) -> None:
    config = write_parts(tmp_path, {"train": 8, "test": 8}, output={"path": "{manifest}.h5"})
    planned = make_plan(load_config(config))
    assert planned.plan.format == FORMAT
    again = make_plan(load_config(planned.run.config))
    assert not again.is_new
    assert again.plan == planned.plan


def test_the_order_does_not_decide_the_result_and_names_do(tmp_path: Path) -> None:
    config = write_parts(tmp_path, {"train": 8, "test": 8})
    planned = make_plan(load_config(config))
    assert not make_plan(load_config(config, ["data.order=parallel"])).is_new
    again = make_plan(load_config(config, ["data.manifest={train: train.csv, tests: test.csv}"]))
    assert "data.manifest.tests: null -> test.csv" in again.notes[0]
    other = make_plan(load_config(config, ["data.manifest={train: train.csv, tests: test.csv}", "name=other"]))
    assert other.plan.fingerprint != planned.plan.fingerprint


def test_failed_samples_count_for_their_manifest_and_a_rerun_takes_its_shards_alone(tmp_path: Path) -> None:
    config = write_parts(
        tmp_path, {"train": 16, "test": 16}, params={"bad": {"20": "raise"}}, node={"max_failed_samples": 2}
    )
    assert launcher(tmp_path, "run", config.name).returncode == 0
    run = run_of(config)
    found = status(tmp_path, run)
    assert [one["samples"]["failed"] for one in found["manifests"]] == [0, 1]
    with results.open(run.path, manifest="test") as result:
        assert result.errors["row"].tolist() == [4]
        assert result.errors["id"].tolist() == [4]
    failed = Plan.read(run.plan).shards_of(Part("test", 16, 32)).first
    done = launcher(tmp_path, "rerun", "toy", "--shards", f"0-{failed}", "--json")
    assert document(done)["shards"] == [failed]


def test_results_open_needs_to_know_which(tmp_path: Path) -> None:
    run = build_parts(tmp_path / "run")
    with pytest.raises(InputError, match=r"give manifest=, one of 'train', 'none', 'test'"):
        results.open(run.path)
    with pytest.raises(InputError, match=r"did you mean 'train'"):
        results.open(run.path, manifest="tran")
    with results.open(run.path, manifest="train") as in_place:
        assert len(in_place) == 50
    gather(run)
    assert len(results.open(run.result_of("train"))) == 50
    with pytest.raises(InputError, match="is one result"):
        results.open(run.result_of("train"), manifest="train")
    one = build_plan(tmp_path / "one", (0, 8))
    with pytest.raises(InputError, match=r"no manifest 'train'; the run has only one, without a name"):
        results.open(one.path, manifest="train")
