"""Submissions: written and read again, also those of the versions before and after."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Resources, Submission

BEFORE = """{
 "number": 3,
 "executor": "slurm",
 "created": 1795862494.9764407,
 "groups": [[2], [3], [4]],
 "node": {
  "processes": 1, "workers": 1, "devices": "cpu", "sample_timeout": 600.0, "max_failed_samples": 3,
  "sync_interval": 10.0, "memory": null
 },
 "retry_failed": false,
 "resources": {
  "nodes_per_task": 1,
  "attempts": 2,
  "output": null,
  "config": {
   "name": "slurm",
   "runs": "runs",
   "job": {"class": "old_job:OldJob", "params": {}},
   "data": {
    "manifest": "numbers.csv", "id": "key", "cost": null, "shards": 5, "samples_per_shard": null, "order": "sequential"
   },
   "node": {
    "processes": 1, "workers": 1, "devices": "cpu", "batch_size": 4, "sample_timeout": 600.0, "max_failed_samples": 3,
    "sync_interval": 10.0, "memory": null
   },
   "executor": "slurm",
   "local": {"parallelism": 1},
   "slurm": {
    "template": "cpu", "array_parallelism": 2, "shards_per_task": 1, "nodes_per_task": 1, "cpus_per_task": null,
    "gpus_per_task": null, "mem": "600M"
   },
   "retry": {
    "attempts": 2, "memory_factor": 1.5, "max_memory": null, "time_factor": 1.5, "max_time": null,
    "exclude_failed_nodes": true
   },
   "output": {"path": null}
  },
  "follower": 2,
  "options": {"exclude": "n1"},
  "attempt": 2,
  "continues": 1
 },
 "job_ids": ["2403207"],
 "finalize_id": "2403208",
 "planned": false,
 "process": null
}"""
"""submissions/0003.json as the version before wrote it: the second attempt at three shards."""

NOW = Submission(
    3, "slurm", 1.5, 2, Spans.parse("0-15,20,32-47"), ((0, 8), (8, 16), (20, 21), (32, 48)), NodeSettings(devices=("cpu",)),
    Resources(nodes_per_task=2, attempts=2, options={"exclude": "n1"}, attempt=2, continues=1), {1: 4}, ("24",), "25",
)  # fmt: skip


def written(folder: Path, submission: Submission) -> Any:
    submission.write(folder / "0001.json")
    return json.loads((folder / "0001.json").read_text())


def read(folder: Path, text: str) -> Submission:
    (folder / "0001.json").write_text(text)
    return Submission.read(folder / "0001.json")


def test_a_submission_is_the_same_after_json(tmp_path: Path) -> None:
    NOW.write(tmp_path / "0001.json")
    assert Submission.read(tmp_path / "0001.json") == NOW
    assert NOW.workers == 4
    assert NOW.work(ShardTable([0, 100], 8)) == NOW.rows


def test_a_submission_of_the_version_before_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, BEFORE)
    resources = found.resources
    assert (resources.nodes_per_task, resources.parallelism, resources.output) == (1, None, None)
    assert (resources.attempts, resources.attempt, resources.continues) == (2, 2, 1)
    assert (resources.follower, resources.options) == (2, {"exclude": "n1"})
    assert (found.tasks, found.job_ids, found.finalize_id) == (3, ("2403207",), "2403208")
    assert found.work(ShardTable([0, 10, 20, 30, 40, 50], 4)) == Spans([(20, 50)])


@pytest.mark.parametrize("key", ["nodes_per_task", "options", "attempt", "continues"])
def test_resources_that_have_their_default_are_left_out(tmp_path: Path, key: str) -> None:
    data = written(tmp_path, NOW)
    del data["resources"][key], data["checksum"]
    found = read(tmp_path, json.dumps(data))
    assert getattr(found.resources, key) == getattr(Resources(), key)
    assert {**written(tmp_path, found), "checksum": ""} == {**data, "checksum": ""}


def test_a_submission_without_resources_has_the_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps({**json.loads(BEFORE), "resources": {}})).resources == Resources()


@pytest.mark.parametrize("section", [None, "node", "resources"])
def test_a_key_of_a_newer_version_is_left_out(tmp_path: Path, section: str | None) -> None:
    data = json.loads(BEFORE)
    (data[section] if section else data)["of_tomorrow"] = 1
    (tmp_path / "3.json").write_text(json.dumps(data))
    (tmp_path / "before.json").write_text(BEFORE)
    assert Submission.read(tmp_path / "3.json") == Submission.read(tmp_path / "before.json")


def test_what_only_a_newer_version_asks_for_is_left_alone(tmp_path: Path) -> None:
    data = json.loads(BEFORE)
    data["resources"]["deadline"] = "tomorrow"
    assert read(tmp_path, json.dumps(data)) == read(tmp_path, BEFORE)


@pytest.mark.parametrize(
    "resources",
    [
        Resources(),
        Resources(parallelism=3, attempts=1, output="/data/result.h5", config={"name": "x"}),
        Resources(2, 4, 3, "/x.h5", {"name": "x"}, {"slurm.mem": "a:1"}, 7, {"mem": "6G"}, 2, 6, attended=True),
        Resources(warning=90, grace=30, requeue=False, default_time=60),
    ],
)
def test_resources_are_the_same_after_json(tmp_path: Path, resources: Resources) -> None:
    submission = replace(NOW, resources=resources)
    submission.write(tmp_path / "0001.json")
    assert Submission.read(tmp_path / "0001.json") == submission


@pytest.mark.parametrize(("limit", "rows", "budget"), [(3, 100, 3), (0, 100, 0), (0.01, 1000, 10), (0.01, 99, 0)])
def test_a_budget_is_a_number_or_a_share_of_a_shard(limit: float, rows: int, budget: int) -> None:
    assert NodeSettings(max_failed_samples=limit).failure_budget(rows) == budget
