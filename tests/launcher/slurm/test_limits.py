"""Sizes and limits on a real Slurm: large arrays, scattered reruns, submit limits, several shards or nodes a task, GPUs.

Each array task costs half a second of CPU, so of the largest arrays only some elements run: all are submitted and held,
most are cancelled, and their shards are made done by hand.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import launcher.results
from tests.example_jobs.toy_jobs import Toy
from tests.slurm_cluster import SlurmCluster
from tests.support.builders import write_shard
from tests.support.launcher_runs import document
from tests.support.slurm_runs import SlurmRun, use_cluster

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

# An array task as cheap as it gets: one process that loads its own samples.
LEAN = {"workers": 0, "processes": 1, "batch_size": 1}


@pytest.fixture
def slurm_here(clean_slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    use_cluster(clean_slurm, monkeypatch)
    return clean_slurm


@pytest.fixture
def qos_limit(slurm_here: SlurmCluster) -> Iterator[int]:
    """A limit of 12 submitted jobs that sacctmgr does not show among the user's own: that of a QOS."""
    change = ("sacctmgr", "-i", "modify", "qos", "normal", "set")
    slurm_here.run(*change, "MaxSubmitJobsPerUser=12")
    yield 12
    slurm_here.run(*change, "MaxSubmitJobsPerUser=-1")


def lean(
    slurm: SlurmCluster, folder: Path, shards: int, job: str = "Toy", params: Any = None, **sections: Any
) -> SlurmRun:
    """A run of one sample a shard."""
    node = {**LEAN, **sections.pop("node", {})}
    options = {"mem": "500M", **sections.pop("options", {})}
    return SlurmRun(slurm, folder, job, params, rows=shards, shards=shards, node=node, options=options, **sections)


def as_toy(rows: np.ndarray) -> dict[str, Any]:
    return Toy().process(np.repeat(rows[:, None], 4, axis=1).astype(float))


def thin(toy: SlurmRun, number: int, keep: Sequence[int]) -> None:
    """Of a held array only the elements ``keep`` are released; the others are cancelled, and their shards made done."""
    array, groups = toy.array(number), toy.submission(number).groups
    others = sorted(set(range(len(groups))) - set(keep))
    for at in range(0, len(others), 400):
        indices = ",".join(map(str, others[at : at + 400]))
        toy.slurm.run("scancel", f"{array}_[{indices}]")
    for index in others:
        for shard in groups[index]:
            write_shard(toy.run, shard, as_toy)
    toy.slurm.run("scontrol", "release", array)


def waiting(slurm: SlurmCluster, job_id: str) -> list[int]:
    """Indices of an array's elements in the queue."""
    return sorted(map(int, slurm.run("squeue", "-h", "-r", "-o", "%K", "-j", job_id).split()))


def first_outputs(toy: SlurmRun) -> np.ndarray:
    with h5py.File(toy.run.result) as file:
        assert file.attrs["complete"]
        return np.asarray(file["y"])[:, 0]


def elements_that_ran(toy: SlurmRun, shard: int) -> list[str | None]:
    return [attempt.start.job_id for attempt in toy.attempts(shard)]


def test_2500_shards_are_three_arrays_and_each_element_runs_its_own_shard(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    toy = lean(slurm_here, tmp_path, 2500, options={"hold": True})
    toy.submit()
    sizes = {number: len(toy.submission(number).groups) for number in toy.run.submission_numbers()}
    assert sizes == {1: 1001, 2: 1001, 3: 498}
    assert [shard for number in sizes for shard in toy.submission(number).shards] == list(range(2500))
    assert {number: waiting(slurm_here, toy.array(number)) for number in sizes} == {
        number: list(range(size)) for number, size in sizes.items()
    }
    assert len({toy.submission(number).finalize_id for number in sizes}) == 1
    kept = {number: [0, 1, size // 2, size - 1] for number, size in sizes.items()}
    for number, keep in kept.items():
        thin(toy, number, keep)
    assert toy.end()["state"] == "complete"
    np.testing.assert_array_equal(first_outputs(toy), 2 * np.arange(2500))
    for number, keep in kept.items():
        before = 1001 * (number - 1)
        for index in keep:
            assert elements_that_ran(toy, before + index) == [f"{toy.array(number)}_{index}"]
    assert toy.run.submission_numbers() == [1, 2, 3]


def test_a_rerun_of_900_scattered_shards_is_one_array_from_0(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = lean(slurm_here, tmp_path, 1800, options={"hold": True})
    assert toy.launcher("plan", toy.config.name).returncode == 0
    for shard in range(0, 1800, 2):
        write_shard(toy.run, shard, as_toy)
    slurm_here.run("sdiag", "--reset")
    assert toy.rerun()["shards"] == list(range(1, 1800, 2))
    assert slurm_here.sdiag()["by_type"]["REQUEST_SUBMIT_BATCH_JOB"] == 2  # the array and its finalize job
    number = toy.run.submission_numbers()[-1]
    assert toy.asked(number, "array") == "0-899%256"
    assert waiting(slurm_here, toy.array(number)) == list(range(900))
    thin(toy, number, [0, 7, 450, 899])
    assert toy.end()["state"] == "complete"
    np.testing.assert_array_equal(first_outputs(toy), 2 * np.arange(1800))
    assert elements_that_ran(toy, 1799) == [f"{toy.array(number)}_899"]
    assert elements_that_ran(toy, 15) == [f"{toy.array(number)}_7"]


def test_what_a_limit_of_100_jobs_holds_back_is_continued_by_the_finalize_job(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    slurm_here.set_user_limit(max_submit_jobs=100)
    toy = lean(slurm_here, tmp_path, 110)
    done = toy.launcher("submit", toy.config.name)
    assert done.returncode == 0, done.stderr
    assert "submission 1: 98 shard(s), Slurm job" in done.stdout
    assert "submission 2: 12 shard(s), held back until Slurm takes more jobs of yours" in done.stdout
    assert toy.end()["samples"] == {"total": 110, "ok": 110, "failed": 0, "missing": 0}
    assert toy.status()["state"] == "complete"
    assert all(len(elements_that_ran(toy, shard)) == 1 for shard in range(110))
    assert {elements_that_ran(toy, shard)[0] for shard in range(98, 110)} == {f"{toy.array(2)}_{i}" for i in range(12)}


def test_arrays_that_fill_the_limit_leave_a_place_to_the_finalize_job(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    slurm_here.set_user_limit(max_submit_jobs=12)
    toy = lean(slurm_here, tmp_path, 12)
    assert document(toy.launcher("submit", toy.config.name, "--json"))["finalize_id"]
    assert toy.end()["state"] == "complete"
    assert sorted(shard for number in toy.run.submission_numbers() for shard in toy.submission(number).shards) == list(
        range(12)
    )


def test_a_limit_that_nobody_knows_in_advance_is_found_by_trying(
    slurm_here: SlurmCluster, qos_limit: int, tmp_path: Path
) -> None:
    toy = lean(slurm_here, tmp_path, 4 * qos_limit)
    toy.submit()
    assert len(toy.submission(1).groups) == qos_limit - 1  # half of half, less one for the finalize job
    assert toy.end()["state"] == "complete"
    assert toy.status()["samples"]["ok"] == 4 * qos_limit
    assert all(len(elements_that_ran(toy, shard)) == 1 for shard in range(4 * qos_limit))


@pytest.fixture
def small_slurm(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """A second cluster, whose queue takes 20 jobs of all users together."""
    with SlurmCluster() as cluster:
        cluster.stop_controller()
        cluster.conf.write_text(f"{cluster.conf.read_text()}MaxJobCount=20\n")
        cluster.start_controller()
        use_cluster(cluster, monkeypatch)
        yield cluster


def test_what_the_whole_queue_cannot_hold_is_held_back_without_asking(
    small_slurm: SlurmCluster, tmp_path: Path
) -> None:
    toy = lean(small_slurm, tmp_path, 40, options={"hold": True})
    small_slurm.run("sdiag", "--reset")
    toy.submit()
    assert small_slurm.sdiag()["by_type"]["REQUEST_SUBMIT_BATCH_JOB"] == 2  # sbatch would have waited for two minutes
    assert [len(toy.submission(number).groups) for number in toy.run.submission_numbers()] == [18, 18, 4]
    assert [len(toy.submission(number).job_ids) for number in toy.run.submission_numbers()] == [1, 0, 0]


def test_where_slurm_takes_nothing_now_that_is_said_and_the_next_submit_goes_on(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    slurm_here.set_user_limit(max_submit_jobs=1)
    other = slurm_here.run("sbatch", "--parsable", "--hold", "--wrap=true").strip()
    toy = lean(slurm_here, tmp_path, 3)
    refused = toy.launcher("submit", toy.config.name)
    assert refused.returncode == 1
    assert "AssocMaxSubmitJobLimit" in refused.stderr
    assert "Traceback" not in refused.stderr
    slurm_here.run("scancel", other)
    slurm_here.set_user_limit(max_submit_jobs=-1)
    toy.submit()
    assert toy.end()["state"] == "complete"
    assert [len(elements_that_ran(toy, shard)) for shard in range(3)] == [1, 1, 1]


def test_more_shards_wait_for_the_finalize_job_of_those_that_run(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    slurm_here.set_user_limit(max_submit_jobs=4)
    toy = lean(slurm_here, tmp_path, 4, options={"hold": True})
    assert toy.launcher("plan", toy.config.name).returncode == 0
    toy.rerun("--shards", "0-1")
    held = toy.rerun("--shards", "2-3", "--set", "slurm.hold=false")
    assert (held["job_ids"], held["finalize_id"]) == ([], toy.submission(1).finalize_id)
    slurm_here.run("scontrol", "release", toy.array(1))
    assert toy.end()["state"] == "complete"
    assert all(len(elements_that_ran(toy, shard)) == 1 for shard in range(4))


def rows_of(toy: SlurmRun) -> dict[str, list[Any]]:
    """All outputs of the result, in manifest order."""
    with launcher.results.open(toy.run.result) as result:
        return {name: list(result[name]) for name in ("x", "pid", "setups", "device", "node", "visible", "rank")}


def placed(slurm: SlurmCluster, folder: Path, shards: int, rows: int, delay: float = 0.0, **sections: Any) -> SlurmRun:
    return SlurmRun(
        slurm, folder, "tests.example_jobs.placed_jobs:Placed", {"delay": delay}, rows=rows, shards=shards,
        node={"workers": 0, "batch_size": 1}, **sections,
    )  # fmt: skip


def test_several_shards_of_a_task_run_in_sequence_with_the_same_model(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = placed(slurm_here, tmp_path, 10, 20, options={"shards_per_task": 4})
    toy.submit()
    assert toy.submission(1).groups == ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9))
    assert toy.end()["state"] == "complete"
    found = rows_of(toy)
    assert found["x"] == list(range(20))
    assert set(found["setups"]) == {1}
    pids = [set(found["pid"][2 * group[0] : 2 * group[-1] + 2]) for group in toy.submission(1).groups]
    assert [len(group) for group in pids] == [1, 1, 1]
    assert len(set.union(*pids)) == 3
    for group in toy.submission(1).groups:
        times = [(a.start.time, a.end.time if a.end else math.inf) for shard in group for a in toy.attempts(shard)]
        assert all(first[1] <= second[0] for first, second in pairwise(times))


def test_of_a_task_on_two_nodes_each_rank_runs_its_own_shard(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = placed(slurm_here, tmp_path, 5, 10, options={"nodes_per_task": 2})
    toy.submit()
    assert toy.submission(1).groups == ((0, 1), (2, 3), (4,))
    assert toy.end()["state"] == "complete"
    found = rows_of(toy)
    assert found["x"] == list(range(10))
    assert found["rank"] == ["0", "0", "1", "1"] * 2 + ["0", "0"]
    nodes = [found["node"][2 * shard] for shard in range(5)]
    assert nodes[0] != nodes[1]
    assert nodes[2] != nodes[3]
    assert all(len(elements_that_ran(toy, shard)) == 1 for shard in range(5))


def test_of_a_task_on_two_nodes_with_several_shards_each_rank_runs_every_other_one(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    toy = placed(slurm_here, tmp_path, 6, 6, options={"nodes_per_task": 2, "shards_per_task": 3})
    toy.submit()
    assert toy.submission(1).groups == (tuple(range(6)),)
    assert toy.end()["state"] == "complete"
    found = rows_of(toy)
    assert found["rank"] == ["0", "1"] * 3
    assert len(set(found["pid"])) == 2
    assert set(found["setups"]) == {1}


@pytest.mark.parametrize("asked", [{"gpus_per_task": 2}, {"gres": "gpu:2"}, {"template": "gpu", "gpus_per_task": 2}])
def test_a_task_has_a_process_for_each_gpu_that_slurm_grants(
    slurm_here: SlurmCluster, tmp_path: Path, asked: dict[str, Any]
) -> None:
    toy = placed(slurm_here, tmp_path, 1, 12, delay=0.1, options=asked)
    toy.submit()
    assert toy.end()["state"] == "complete"
    found = rows_of(toy)
    assert set(found["device"]) == {"cuda:0", "cuda:1"}
    assert set(found["visible"]) == {"0,1"}
    assert len(set(found["pid"])) == 2
    assert {pid for pid, device in zip(found["pid"], found["device"], strict=True) if device == "cuda:0"}.isdisjoint(
        pid for pid, device in zip(found["pid"], found["device"], strict=True) if device == "cuda:1"
    )


def test_two_tasks_of_a_node_have_a_gpu_each(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = placed(slurm_here, tmp_path, 2, 8, delay=0.5, options={"template": "gpu", "nodelist": "n1"})
    toy.submit()
    assert toy.end()["state"] == "complete"
    found = rows_of(toy)
    assert set(found["device"]) == {"cuda:0"}
    assert {found["visible"][0], found["visible"][4]} == {"0", "1"}
