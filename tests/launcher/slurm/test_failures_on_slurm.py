"""What fails by itself under a real Slurm: memory, crashes, a broken start, a full disk; and how the run heals."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from launcher.runs.submissions import Outcome
from tests.example_jobs.greedy_jobs import ROWS_OF_SHARD
from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import wait_until
from tests.support.slurm_runs import ROWS, SHARDS, SlurmRun, result_data, start_of, undisturbed_data, use_cluster
from tests.support.task_runs import alive

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("failures")]

ALL_OK = {"total": ROWS, "ok": ROWS, "failed": 0, "missing": 0}


@pytest.fixture
def slurm_here(clean_slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    use_cluster(clean_slurm, monkeypatch)
    return clean_slurm


@pytest.fixture
def limited(slurm_here: SlurmCluster) -> SlurmCluster:
    if not slurm_here.memory_limits:
        pytest.skip("no cgroup v1 memory controller")
    return slurm_here


@pytest.mark.thorough
def test_a_batch_over_the_memory_limit_is_done_sample_by_sample_in_the_same_attempt(
    limited: SlurmCluster, tmp_path: Path
) -> None:
    # Row 20 is in shard 1; four samples of its batch take 800 MB, each alone fits.
    toy = SlurmRun(limited, tmp_path, "tests.example_jobs.greedy_jobs:Hungry", {"process": {"20": 200}})
    toy.submit()
    found = toy.end()
    assert (found["state"], found["samples"]) == ("complete", ALL_OK)
    assert toy.attempt_with(20).beat.end == "done"
    assert toy.run.submission_numbers() == [1]
    assert "memory ran out" in toy.log_with(20)
    assert result_data(toy.run) == undisturbed_data()


def test_memory_that_runs_out_again_and_again_is_healed_with_more_of_it_for_its_shard_alone(
    limited: SlurmCluster, tmp_path: Path
) -> None:
    params, shards = {"first": 32, "last": 63, "megabytes": 300}, {"rows": 96, "shards": 3}
    toy = SlurmRun(
        limited, tmp_path, "tests.example_jobs.greedy_jobs:Leaky", params, retry={"memory_factor": 6}, **shards
    )
    toy.submit()
    found = toy.end()
    assert (found["state"], found["samples"]["ok"]) == ("complete", 96)
    kinds = {kind for index in range(3) for _, kind in toy.ends(index)}
    assert kinds <= {"OUT_OF_MEMORY", None}  # None: done, or the kernel took the supervisor too
    assert {tuple(row) for rows in toy.accounted(1, "ReqMem").values() for row in rows} == {("600M",)}
    assert {tuple(row) for rows in toy.accounted(2, "ReqMem").values() for row in rows} == {("3600M",)}
    assert toy.shards_of(2) == [1]


@pytest.mark.parametrize("where", ["setup", pytest.param("setup_worker", marks=pytest.mark.thorough)])
def test_a_setup_over_the_memory_limit_is_healed_up_to_max_memory(
    limited: SlurmCluster, tmp_path: Path, where: str
) -> None:
    retry = {"memory_factor": 4, "max_memory": "1100M"}
    toy = SlurmRun(
        limited, tmp_path, "tests.example_jobs.greedy_jobs:Hungry", {where: 700}, rows=8, shards=1, retry=retry
    )
    toy.submit()
    assert toy.end()["state"] == "complete"
    assert (toy.ends(0, 1), toy.ends(0, 2)) == ([("failed", "OUT_OF_MEMORY")], [("done", None)])
    (first,), (second,) = toy.accounted(1, "State", "ReqMem")[0], toy.accounted(2, "State", "ReqMem")[0]
    # A worker is told before the kernel acts, and the task's own watch may see it first.
    assert first in [[state, "600M"] for state in ("FAILED", *(["OUT_OF_MEMORY"] if where == "setup" else []))]
    assert second == ["COMPLETED", "1100M"]


@pytest.mark.thorough
def test_imports_over_the_memory_limit_are_healed(
    limited: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_HEAVY_MEGABYTES", "700")
    heavy, retry = "tests.example_jobs.heavy_jobs:Heavy", {"memory_factor": 2, "attempts": 2}
    toy = SlurmRun(limited, tmp_path, heavy, rows=8, shards=1, retry=retry)
    toy.submit()
    assert toy.end()["state"] == "complete"
    assert (toy.ends(0, 1), toy.ends(0, 2)) == ([("failed", "OUT_OF_MEMORY")], [("done", None)])


@pytest.mark.thorough
def test_more_memory_than_any_node_has_is_not_asked_for(limited: SlurmCluster, tmp_path: Path) -> None:
    retry = {"memory_factor": 100}
    toy = SlurmRun(
        limited, tmp_path, "tests.example_jobs.greedy_jobs:Hungry", {"setup_worker": 700}, rows=8, shards=1, retry=retry
    )
    toy.submit()
    assert toy.end()["state"] == "complete"
    assert toy.accounted(2, "ReqMem") == {0: [["6000M"]]}
    outcome = Outcome.read(toy.run, 1)
    assert outcome is not None
    assert outcome.notes == (
        "another attempt would ask for --mem=60000M: the nodes of partition main allow 6000M at most",
    )


@pytest.mark.thorough
def test_memory_that_may_not_grow_ends_as_out_of_memory_and_says_how_to_go_on(
    limited: SlurmCluster, tmp_path: Path
) -> None:
    retry = {"max_memory": "600M"}
    toy = SlurmRun(
        limited, tmp_path, "tests.example_jobs.greedy_jobs:Hungry", {"setup": 700}, rows=8, shards=1, retry=retry
    )
    toy.submit()
    found = toy.end()
    (failure,) = found["failures"]
    assert (found["state"], failure["kind"]) == ("failed", "OUT_OF_MEMORY")
    assert "rerun toy --mem" in failure["advice"].replace(str(toy.run.path), "toy")
    assert toy.run.submission_numbers() == [1]
    toy.rerun("--mem", "1100M")
    assert toy.end()["state"] == "complete"
    assert toy.accounted(2, "ReqMem") == {0: [["1100M"]]}


def test_a_sample_that_alone_exceeds_the_limit_fails_alone(limited: SlurmCluster, tmp_path: Path) -> None:
    node = {"max_failed_samples": 1}
    toy = SlurmRun(limited, tmp_path, "tests.example_jobs.greedy_jobs:Hungry", {"load": {"20": 700}}, node=node)
    toy.submit()
    found = toy.end()
    assert (found["state"], found["samples"]["failed"]) == ("complete", 1)
    (failure,) = found["failures"]
    assert (failure["kind"], failure["shards"], failure["samples"]) == ("OUT_OF_MEMORY", [1], 1)
    assert "--shards 1 --mem" in failure["advice"]
    assert failed_rows(toy) == {20}
    states = {index: rows[0][0] for index, rows in toy.accounted(1, "State").items()}
    assert states.pop(start_of(toy.attempt_with(20)).index) == "OUT_OF_MEMORY"
    assert set(states.values()) <= {"COMPLETED", "CANCELLED"}  # cancelled: there was nothing left to do for it
    assert toy.run.submission_numbers() == [1]
    assert "doing its batch with all else idle" in toy.log_with(20)
    assert result_data(toy.run) == undisturbed_data((20,))
    assert toy.rerun("--shards", "1", "--mem", "1100M")["shards"] == [1]
    assert toy.end()["samples"] == ALL_OK
    assert result_data(toy.run) == undisturbed_data()


@pytest.mark.thorough
def test_a_sample_that_crashes_fails_alone(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun(slurm_here, tmp_path, "Toy", {"bad": {"20": "segfault"}}, node={"max_failed_samples": 1})
    toy.submit()
    found = toy.end()
    assert found["state"] == "complete"
    (failure,) = found["failures"]
    assert (failure["kind"], failure["shards"], failure["samples"]) == ("CRASH", [1], 1)
    assert "SIGSEGV" in failure["message"]
    assert {rows[0][0] for rows in toy.accounted(1, "State").values()} <= {"COMPLETED", "CANCELLED"}
    assert result_data(toy.run) == undisturbed_data((20,))


def test_a_supervisor_that_is_killed_leaves_its_work_to_the_others_and_no_process(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path)
    toy.submit()
    toy.await_commits(1)
    family = kill_supervisor(toy, 1)
    toy.open_gate()
    wait_until(lambda: not alive(family))
    assert toy.end()["samples"] == ALL_OK
    outcome = Outcome.read(toy.run, 1)
    assert outcome is not None
    assert outcome.failures == {}
    assert toy.accounted(1, "ExitCode")[1] == [["0:9"]]
    assert toy.run.submission_numbers() == [1]
    assert toy.closed_twice() < ROWS_OF_SHARD  # those at work may do a batch twice, on a busy machine
    assert result_data(toy.run) == undisturbed_data()


def test_what_no_other_element_can_take_is_healed_by_another_submission(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path, options={"tasks": 1})
    array = toy.submit()
    toy.await_commits(0)
    kill_supervisor(toy, 0)
    toy.open_gate()
    assert toy.end()["samples"] == ALL_OK
    outcome = Outcome.read(toy.run, 1)
    assert outcome is not None
    assert {shard: failure.kind for shard, failure in outcome.failures.items()} == dict.fromkeys(range(SHARDS), "CRASH")
    assert "signal 9" in outcome.failures[1].message
    assert (array, toy.shards_of(2)) == (toy.array(1), [0, 1, 2])
    assert toy.closed_twice() == 0
    assert result_data(toy.run) == undisturbed_data()


@pytest.mark.thorough
def test_one_attempt_means_that_nothing_is_tried_again(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path, options={"tasks": 1}, retry={"attempts": 1})
    toy.submit()
    toy.await_commits(0)
    kill_supervisor(toy, 0)
    toy.open_gate()
    found = toy.end()
    assert (found["state"], found["shards"]["done"], found["shards"]["failed"]) == ("failed", 0, SHARDS)
    assert [failure["kind"] for failure in found["failures"]] == ["CRASH"]
    assert toy.run.submission_numbers() == [1]
    toy.rerun()
    assert toy.end()["state"] == "complete"
    assert result_data(toy.run) == undisturbed_data()


def kill_supervisor(toy: SlurmRun, index: int) -> list[psutil.Process]:
    """SIGKILL of an element's supervisor; returns it with the processes that it had."""
    supervisor = toy.supervisor(index)
    family = [supervisor, *supervisor.children(recursive=True)]
    supervisor.kill()
    return family


def failed_rows(toy: SlurmRun) -> set[int]:
    """The manifest rows that failed, as the result tells them."""
    with h5py.File(toy.run.result) as file:
        return set(file["errors/row"][()].tolist())


def write_template(folder: Path) -> str:
    """A site's script whose Python is not there."""
    (folder / "site.sbatch").write_text("#!/bin/bash\nLAUNCHER_PYTHON=/no/such/python\n# launcher: command\n")
    return "site.sbatch"


def test_a_python_that_is_not_there_is_tried_on_other_nodes_then_given_up(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    toy = SlurmRun(slurm_here, tmp_path, "Toy", options={"template": write_template(tmp_path)}, shards=1)
    toy.submit()
    found = toy.end()
    assert (found["state"], found["shards"]["failed"]) == ("failed", 1)
    (failure,) = found["failures"]
    assert failure["kind"] == "LAUNCH"
    assert "/no/such/python: No such file or directory" in failure["message"]
    assert "launcher logs" in failure["advice"]
    nodes = [toy.accounted(number, "NodeList")[0][0][0] for number in toy.run.submission_numbers()]
    assert len(nodes) == len(set(nodes)) == 3
    excluded = [toy.asked(number, "exclude") for number in toy.run.submission_numbers()]
    assert excluded == [None, nodes[0], ",".join(nodes[:2])]
    wait_until(lambda: toy.queued() == [])
    assert "/no/such/python" in toy.launcher("logs", toy.run.path, 0).stdout


@pytest.mark.thorough
def test_a_node_that_failed_is_tried_again_where_there_is_no_other(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    options = {"template": write_template(tmp_path), "nodelist": "n2"}
    toy = SlurmRun(slurm_here, tmp_path, "Toy", options=options, shards=1, retry={"attempts": 2})
    toy.submit()
    assert [failure["kind"] for failure in toy.end()["failures"]] == ["LAUNCH"]
    assert [toy.accounted(number, "NodeList")[0] for number in (1, 2)] == [[["n2"]]] * 2
    assert toy.asked(2, "exclude") is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB where runs go."""
    folder = tmp_path / "runs"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Takes all the room that is left; returns what takes it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


@pytest.mark.thorough
def test_a_full_disk_is_named_and_what_is_missing_follows_once_there_is_room(
    slurm_here: SlurmCluster, small_disk: Path, tmp_path: Path
) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path, "Wide")
    toy.submit()
    for shard in range(SHARDS):
        toy.await_commits(shard)
    filler = fill(small_disk)
    toy.open_gate()
    finalize = toy.submission(1).finalize_id
    assert finalize
    # The finalize job cannot record how it went, so it comes back later.
    wait_until(lambda: toy.restarts_of(finalize) == 1)
    assert toy.status()["shards"]["done"] == 0
    filler.unlink()
    toy.resume(finalize)
    found = toy.end()
    assert (found["state"], found["shards"]["failed"]) == ("failed", SHARDS)
    assert {failure["kind"] for failure in found["failures"]} == {"DISK"}
    assert all("No space left" in f["message"] or "disk full" in f["message"] for f in found["failures"])
    assert all("make room" in failure["advice"] for failure in found["failures"])
    assert toy.run.submission_numbers() == [1]
    toy.rerun()
    assert toy.end()["samples"] == ALL_OK
    data = result_data(toy.run)
    assert data.pop("wide") == np.repeat(np.arange(ROWS, dtype=float), 8192).tobytes()
    assert data == undisturbed_data()
