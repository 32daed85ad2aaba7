"""Sizes and limits on a real Slurm: large arrays, scattered reruns, submit limits, several shards or nodes a task, GPUs.

Each array task costs half a second of CPU, so of the largest arrays only some elements run: all are submitted and held,
and most are cancelled.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import launcher.results
from jobs.storage.attempts import Attempts
from jobs.storage.spans import Spans
from tests.example_jobs.toy_jobs import Toy
from tests.slurm_cluster import SlurmCluster
from tests.support.builders import AttemptWriter
from tests.support.launcher_runs import document
from tests.support.slurm_runs import SlurmRun, start_of, use_cluster

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

# An array task as cheap as it gets: one process that loads its own samples.
LEAN = {"workers": 0, "processes": 1, "batch_size": 1}


@pytest.fixture
def slurm_here(clean_slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    use_cluster(clean_slurm, monkeypatch)
    return clean_slurm


@pytest.fixture
def qos_limit(slurm_here: SlurmCluster) -> Iterator[int]:
    """A limit of 12 submitted jobs that is not asked for: that of the partition's QOS."""
    slurm_here.run("sacctmgr", "-i", "add", "qos", "narrow", "MaxSubmitJobsPerUser=12")
    slurm_here.wait(lambda: "QOS=narrow" in slurm_here.run("scontrol", "show", "assoc_mgr", "flags=qos"), "the QOS")
    slurm_here.run("scontrol", "update", "PartitionName=main", "QoS=narrow")
    yield 12
    slurm_here.run("scontrol", "update", "PartitionName=main", "QoS=")
    slurm_here.run("sacctmgr", "-i", "delete", "qos", "narrow")


def lean(
    slurm: SlurmCluster, folder: Path, shards: int, job: str = "Toy", params: Any = None, **sections: Any
) -> SlurmRun:
    """A run of one sample a shard, and as many array tasks as Slurm allows, more than run at once."""
    node = {**LEAN, **sections.pop("node", {})}
    options = {"mem": "500M", "tasks": shards, **sections.pop("options", {})}
    return SlurmRun(slurm, folder, job, params, rows=shards, shards=shards, node=node, options=options, **sections)


def as_toy(rows: np.ndarray) -> dict[str, Any]:
    return Toy().process(np.repeat(rows[:, None], 4, axis=1).astype(float))


def thin(toy: SlurmRun, number: int, keep: Sequence[int]) -> None:
    """Of a held array only the elements ``keep`` are released; the others are cancelled, and leave their work to these."""
    array = toy.array(number)
    others = sorted(set(range(toy.submission(number).tasks)) - set(keep))
    for at in range(0, len(others), 400):
        indices = ",".join(map(str, others[at : at + 400]))
        toy.slurm.run("scancel", f"{array}_[{indices}]")
    toy.slurm.run("scontrol", "release", array)


def waiting(slurm: SlurmCluster, job_id: str) -> list[int]:
    """Indices of an array's elements in the queue."""
    return sorted(map(int, slurm.run("squeue", "-h", "-r", "-o", "%K", "-j", job_id).split()))


def first_outputs(toy: SlurmRun) -> np.ndarray:
    with h5py.File(toy.run.result) as file:
        assert file.attrs["complete"]
        return np.asarray(file["y"])[:, 0]


def elements_that_ran(toy: SlurmRun, number: int) -> list[int]:
    """Array indices that made attempts; each of these names its element."""
    starts = [start_of(attempt) for attempt in Attempts(toy.run, number).read()]
    assert all(start.job_id == f"{toy.array(number)}_{start.index}" for start in starts)
    return sorted(start.index for start in starts)


def assert_done_once(toy: SlurmRun) -> None:
    found = toy.status()
    assert (found["state"], found["samples"]["missing"], found["samples"]["failed"]) == ("complete", 0, 0)
    assert toy.closed_twice() == 0


def test_by_default_there_are_no_more_tasks_than_run_at_once(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = lean(slurm_here, tmp_path, 100, options={"tasks": None, "hold": True})
    toy.submit()

    cpus = int(slurm_here.run("sinfo", "-h", "-p", "main", "-o", "%C").rpartition("/")[2])
    assert toy.submission(1).tasks == cpus


def test_2500_shards_are_one_array_as_large_as_slurm_allows_of_which_any_elements_do_all(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    toy = lean(slurm_here, tmp_path, 2500, options={"hold": True, "array_parallelism": 2500})
    toy.submit()
    assert toy.run.submission_numbers() == [1]
    assert (toy.submission(1).tasks, toy.submission(1).rows.count) == (1001, 2500)
    assert waiting(slurm_here, toy.array(1)) == list(range(1001))
    thin(toy, 1, keep := [0, 1, 500, 1000])
    toy.end()
    assert_done_once(toy)
    np.testing.assert_array_equal(first_outputs(toy), 2 * np.arange(2500))
    assert set(elements_that_ran(toy, 1)) <= set(keep)


@pytest.mark.thorough
def test_a_rerun_of_900_scattered_shards_is_one_array_from_0(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = lean(slurm_here, tmp_path, 1800, options={"hold": True, "array_parallelism": 1000})
    assert toy.launcher("plan", toy.config.name).returncode == 0
    writer = AttemptWriter(toy.run)
    writer.commit_all(Spans.of_numbers(range(0, 1800, 2)), as_toy)
    writer.end()
    slurm_here.run("sdiag", "--reset")
    assert toy.rerun()["shards"] == list(range(1, 1800, 2))
    assert slurm_here.sdiag()["by_type"]["REQUEST_SUBMIT_BATCH_JOB"] == 2  # the array and its finalize job
    number = toy.run.submission_numbers()[-1]
    assert toy.asked(number, "array") == "0-899%1000"
    assert waiting(slurm_here, toy.array(number)) == list(range(900))
    thin(toy, number, keep := [0, 7, 450, 899])
    toy.end()
    assert_done_once(toy)
    np.testing.assert_array_equal(first_outputs(toy), 2 * np.arange(1800))
    assert set(elements_that_ran(toy, number)) <= set(keep)


def test_an_array_stays_within_the_limit_of_a_users_jobs(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    slurm_here.set_user_limit(max_submit_jobs=12)
    toy = lean(slurm_here, tmp_path, 30)
    done = toy.launcher("submit", toy.config.name, "--json")
    assert done.returncode == 0, done.stderr
    assert document(done)["finalize_id"]
    assert toy.submission(1).tasks == 10  # one place is for the finalize job, one for its successor
    toy.end()
    assert_done_once(toy)
    assert toy.run.submission_numbers() == [1]


@pytest.mark.thorough
def test_a_limit_that_nobody_knows_in_advance_is_found_by_trying(
    slurm_here: SlurmCluster, qos_limit: int, tmp_path: Path
) -> None:
    toy = lean(slurm_here, tmp_path, 4 * qos_limit)
    toy.submit()
    assert toy.submission(1).tasks == qos_limit - 1  # half of half, less one for the finalize job
    assert toy.submission(1).rows.count == 4 * qos_limit
    toy.end()
    assert_done_once(toy)
    assert toy.run.submission_numbers() == [1]


@pytest.fixture
def small_slurm(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """A second cluster, whose queue takes 20 jobs of all users together."""
    with SlurmCluster() as cluster:
        cluster.stop_controller()
        cluster.conf.write_text(f"{cluster.conf.read_text()}MaxJobCount=20\n")
        cluster.start_controller()
        use_cluster(cluster, monkeypatch)
        yield cluster


@pytest.mark.thorough
def test_an_array_stays_within_what_the_whole_queue_holds(small_slurm: SlurmCluster, tmp_path: Path) -> None:
    toy = lean(small_slurm, tmp_path, 40, options={"hold": True})
    small_slurm.run("sdiag", "--reset")
    toy.submit()
    assert small_slurm.sdiag()["by_type"]["REQUEST_SUBMIT_BATCH_JOB"] == 2  # sbatch would have waited for two minutes
    assert [toy.submission(number).tasks for number in toy.run.submission_numbers()] == [18]


@pytest.mark.thorough
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
    toy.end()
    assert_done_once(toy)


def test_more_shards_wait_for_the_finalize_job_of_those_that_run(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = lean(slurm_here, tmp_path, 4, options={"hold": True, "tasks": 2})
    assert toy.launcher("plan", toy.config.name).returncode == 0
    slurm_here.set_user_limit(max_submit_jobs=4)
    toy.rerun("--shards", "0-1")
    slurm_here.set_user_limit(max_submit_jobs=3)  # of which two elements and the finalize job are there
    held = toy.rerun("--shards", "2-3", "--set", "slurm.hold=false")
    assert (held["job_ids"], held["finalize_id"]) == ([], toy.submission(1).finalize_id)
    slurm_here.run("scontrol", "release", toy.array(1))
    toy.end()
    assert_done_once(toy)
    assert toy.run.submission_numbers() == [1, 2]


@pytest.mark.thorough
def test_where_there_is_a_place_for_an_element_but_not_for_a_finalize_job_it_waits_for_another_one(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    slurm_here.set_user_limit(max_submit_jobs=4)
    toy = lean(slurm_here, tmp_path, 4, options={"hold": True})
    assert toy.launcher("plan", toy.config.name).returncode == 0
    toy.rerun("--shards", "0-1")
    held = toy.rerun("--shards", "2-3")
    assert (held["job_ids"], held["finalize_id"]) == ([], toy.submission(1).finalize_id)
    assert [len(toy.submission(number).job_ids) for number in toy.run.submission_numbers()] == [1, 1, 0]
    for number in (1, 3):
        toy.wait(lambda number=number: toy.submission(number).job_ids)  # type: ignore[misc]
        slurm_here.run("scontrol", "release", toy.array(number))
    toy.end()
    assert_done_once(toy)


def rows_of(toy: SlurmRun) -> dict[str, list[Any]]:
    """All outputs of the result, in manifest order."""
    with launcher.results.open(toy.run.result) as result:
        return {name: list(result[name]) for name in ("x", "pid", "setups", "device", "node", "visible", "rank")}


def placed(slurm: SlurmCluster, folder: Path, shards: int, rows: int, delay: float = 0.0, **sections: Any) -> SlurmRun:
    return SlurmRun(
        slurm, folder, "tests.example_jobs.placed_jobs:Placed", {"delay": delay}, rows=rows, shards=shards,
        node={"workers": 0, "batch_size": 1}, **sections,
    )  # fmt: skip


def pids_of_attempts(toy: SlurmRun, pids: Sequence[int]) -> list[set[int]]:
    """The processes that did the rows of each attempt."""
    attempts = Attempts(toy.run, 1).read()
    return [{pids[row] for row in attempt.beat.done.numbers} for attempt in attempts]


@pytest.mark.parametrize("options", [{"tasks": 3}, pytest.param({"shards_per_task": 4}, marks=pytest.mark.thorough)])
def test_several_shards_of_a_task_run_with_the_same_model(
    slurm_here: SlurmCluster, tmp_path: Path, options: dict[str, int]
) -> None:
    toy = placed(slurm_here, tmp_path, 10, 20, options=options)
    toy.submit()
    assert toy.submission(1).tasks == 3
    toy.end()
    assert_done_once(toy)
    found = rows_of(toy)
    assert found["x"] == list(range(20))
    assert set(found["setups"]) == {1}
    assert all(len(pids) <= 1 for pids in pids_of_attempts(toy, found["pid"]))


def test_of_a_task_on_two_nodes_each_rank_has_work_of_its_own(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = placed(slurm_here, tmp_path, 5, 30, delay=0.5, options={"nodes_per_task": 2})
    toy.submit()
    assert (toy.submission(1).tasks, toy.submission(1).workers) == (3, 6)
    toy.end()
    assert_done_once(toy)
    found = rows_of(toy)
    assert found["x"] == list(range(30))
    nodes: dict[int, list[str]] = {}
    for attempt in Attempts(toy.run, 1).read():
        start = start_of(attempt)
        rows = list(attempt.beat.done.numbers)
        assert {found["rank"][row] for row in rows} <= {str(start.worker % 2)}
        assert {found["node"][row] for row in rows} <= {start.host}
        nodes.setdefault(start.index, []).append(start.host)
    assert set(found["rank"]) == {"0", "1"}
    assert all(len(hosts) == len(set(hosts)) <= 2 for hosts in nodes.values())


@pytest.mark.parametrize(
    "asked",
    [
        {"gpus_per_task": 2},
        pytest.param({"gres": "gpu:2"}, marks=pytest.mark.thorough),
        pytest.param({"template": "gpu", "gpus_per_task": 2}, marks=pytest.mark.thorough),
    ],
)
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
    toy = placed(slurm_here, tmp_path, 2, 8, delay=1.0, options={"template": "gpu", "nodelist": "n1"})
    toy.submit()
    assert toy.end()["state"] == "complete"
    found = rows_of(toy)
    assert set(found["device"]) == {"cuda:0"}
    assert {found["visible"][0], found["visible"][4]} == {"0", "1"}
