"""What ends array tasks from outside under a real Slurm: time limits, nodes, other jobs, people. No sample is lost."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.node.generators import sample_seed
from launcher import results
from launcher.slurm import scheduler
from launcher.slurm.accounting import has_ended
from launcher.slurm.parsers import Accounted
from launcher.slurm.scripts import job_name
from tests.example_jobs.greedy_jobs import ENGINE_SECONDS, ROWS_OF_SHARD
from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import document, start, wait_until
from tests.support.patience import PATIENCE
from tests.support.slurm_runs import (
    BATCH,
    ROWS,
    SHARDS,
    SlurmRun,
    result_data,
    start_of,
    undisturbed_data,
    use_cluster,
)
from tests.support.task_runs import alive

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("interruptions")]

ALL_OK = {"total": ROWS, "ok": ROWS, "failed": 0, "missing": 0}


@pytest.fixture
def slurm_here(clean_slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    use_cluster(clean_slurm, monkeypatch)
    return clean_slurm


def restarts(toy: SlurmRun, index: int) -> list[int]:
    """Slurm's restart count at each attempt of an element."""
    return [start_of(attempt).restart for attempt in toy.attempts(index)]


def assert_complete(toy: SlurmRun) -> None:
    """Every sample is there, no shard was begun again, and nothing waits in the queue.

    A batch may be done twice: who is slow to say that he has it, as on a busy machine, has it taken from him.
    """
    found = toy.end()
    assert (found["state"], found["samples"]) == ("complete", ALL_OK)
    assert toy.closed_twice() < ROWS_OF_SHARD
    assert result_data(toy.run) == undisturbed_data()
    wait_until(lambda: toy.queued() == [])


# --- time limits; a minute is Slurm's least


def timed(slurm: SlurmCluster, folder: Path, no_scontrol: str = "false", **sections: Any) -> SlurmRun:
    """A run that takes longer than its time limit; elements for which the shell says so have no scontrol."""
    (folder / "site.sbatch").write_text(
        f"#!/bin/bash\nif {no_scontrol}; then PATH=/no/commands; fi\n# launcher: command\n"
    )
    options = {"time": "1", "template": "site.sbatch", **sections.pop("options", {})}
    params = {"delay": 4.0, **sections.pop("params", {})}
    return SlurmRun(
        slurm, folder, "tests.example_jobs.greedy_jobs:Slow", params,
        options=options, node={"batch_size": 1}, retry={"time_factor": 3}, **sections,
    )  # fmt: skip


def test_an_element_whose_time_is_up_is_requeued_and_goes_on_with_what_all_have_left(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    # Elements 1 and 2 cannot requeue themselves: they leave in order, and their work to 0.
    toy = timed(slurm_here, tmp_path, "[ $SLURM_ARRAY_TASK_ID != 0 ]")
    array = toy.submit()
    toy.await_state(f"{array}_0", "PENDING")
    toy.resume(f"{array}_0")
    assert_complete(toy)
    assert toy.run.submission_numbers() == [1]
    assert toy.ends(0) == [("stopped", None), ("done", None)]
    assert restarts(toy, 0) == [0, 1]
    assert 0 < toy.attempts(0)[0].beat.done.count < ROWS_OF_SHARD
    for index in (1, 2):
        assert toy.ends(index) == [("stopped", None)]
        assert toy.accounted(1, "ExitCode")[index] == [["75:0"]]


@pytest.mark.parametrize(
    ("stuck", "end", "attempt", "limit"),
    [
        ([0], ("failed", "TIMEOUT"), 2, "00:03:00"),
        pytest.param([], ("stopped", None), 1, "00:01:00", marks=pytest.mark.thorough),
    ],
)
def test_the_time_limit_gives_more_time_only_to_what_makes_no_progress(
    slurm_here: SlurmCluster, tmp_path: Path, stuck: list[int], end: tuple[str, str | None], attempt: int, limit: str
) -> None:
    toy = timed(slurm_here, tmp_path, "true", params={"stuck": stuck}, options={"tasks": 1})
    toy.submit()
    assert_complete(toy)
    assert toy.ends(0) == [end]
    assert toy.run.submission_numbers() == [1, 2]
    assert toy.submission(2).resources.attempt == attempt
    assert [toy.accounted(number, "Timelimit")[0] for number in (1, 2)] == [[["00:01:00"]], [[limit]]]


# --- nodes, and jobs that are more urgent


def test_dead_nodes_leave_their_work_to_the_others(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path, options={"exclusive": True})  # a node for each element
    array = toy.submit()
    for shard in range(SHARDS):
        toy.await_commits(shard)
    requeued, failed = toy.node_of(f"{array}_0"), toy.node_of(f"{array}_1")
    slurm_here.run("scontrol", "update", f"JobId={array}_1", "Requeue=0")
    for node in (requeued, failed):
        slurm_here.kill_node(node, noticed=True)
    toy.open_gate()
    assert_complete(toy)
    assert toy.run.submission_numbers() == [1]
    assert toy.ends(1) == [(None, None)]
    assert toy.accounted(1, "State", "NodeList")[1] == [["NODE_FAIL", failed]]


@pytest.mark.thorough
def test_a_dead_node_is_avoided_by_what_slurm_does_not_requeue(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path, options={"tasks": 1})
    array = toy.submit()
    toy.await_commits(0)
    failed = toy.node_of(f"{array}_0")
    slurm_here.run("scontrol", "update", f"JobId={array}_0", "Requeue=0")
    slurm_here.kill_node(failed, noticed=True)
    toy.open_gate()
    assert_complete(toy)
    assert toy.accounted(1, "State", "NodeList")[0] == [["NODE_FAIL", failed]]
    assert toy.shards_of(2) == [0, 1, 2]
    assert toy.asked(2, "exclude") == failed
    assert start_of(toy.attempts(0, 2)[0]).host != failed


def preempt(toy: SlurmRun, array: str, indices: Iterable[int]) -> None:
    """A more urgent job takes node n1, which has these elements; they have left when it returns."""
    urgent = ("--partition=urgent", "--nodelist=n1", "--exclusive", "--output=/dev/null", "--wrap=true")
    toy.slurm.run("sbatch", *urgent)
    toy.open_gate_after(array, indices)


def test_what_is_preempted_goes_on_where_it_was(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path, options={"nodelist": "n1"}, retry={"attempts": 1})
    array = toy.submit()
    for shard in range(SHARDS):
        toy.await_commits(shard)
    slurm_here.run("scontrol", "update", f"JobId={array}_1", "Requeue=0")
    preempt(toy, array, range(SHARDS))
    toy.resume(f"{array}_0")
    assert_complete(toy)  # element 2 may still have waited
    assert toy.run.submission_numbers() == [1]
    assert toy.ends(0) == [("stopped", None), ("done", None)]
    assert toy.ends(1) == [("stopped", None)]
    assert toy.accounted(1, "State")[1] == [["PREEMPTED"]]


@pytest.mark.thorough
def test_preemption_costs_no_attempt(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path, options={"nodelist": "n1", "tasks": 1}, retry={"attempts": 1})
    array = toy.submit()
    toy.await_commits(0)
    slurm_here.run("scontrol", "update", f"JobId={array}_0", "Requeue=0")
    preempt(toy, array, [0])
    assert_complete(toy)
    assert (toy.shards_of(2), toy.submission(2).resources.attempt) == ([0, 1, 2], 1)
    assert toy.accounted(1, "State") == {0: [["PREEMPTED"]]}


# --- samples one by one


def engines(toy: SlurmRun, index: int) -> list[psutil.Process]:
    below = toy.supervisor(index).children(recursive=True)
    return [process for process in below if ENGINE_SECONDS in process.cmdline()]


@pytest.mark.parametrize(
    "how", ["requeued", *(pytest.param(how, marks=pytest.mark.thorough) for how in ("preempted", "cancelled"))]
)
def test_samples_in_flight_are_done_by_others_and_no_engine_is_left(
    slurm_here: SlurmCluster, tmp_path: Path, how: str
) -> None:
    job, params = "tests.example_jobs.greedy_jobs:Answers", {"gate": str(tmp_path / "gate")}
    node = {"in_flight": 8, "workers": 1, "sync_interval": 1}
    toy = SlurmRun(slurm_here, tmp_path, job, params, node=node, options={"nodelist": "n1", "tasks": 1})
    element = f"{toy.submit()}_0"
    toy.await_commits(0)
    toy.wait(lambda: toy.status()["samples_in_flight"] == 8)
    (engine,) = engines(toy, 0)
    if how == "preempted":
        preempt(toy, element.removesuffix("_0"), [0])
    else:
        slurm_here.run(*(["scontrol", "requeue"] if how == "requeued" else ["scancel"]), element)
        toy.wait(lambda: slurm_here.job_states(element).get(element) != "RUNNING")
        toy.open_gate()
    wait_until(lambda: not alive([engine]))
    if how == "cancelled":
        assert {failure["kind"] for failure in toy.end()["failures"]} == {"CANCELLED"}
        toy.rerun()
    else:
        toy.resume(element)
    found = toy.end()
    assert (found["state"], found["samples"]) == ("complete", ALL_OK)
    with results.open(toy.run.path) as stored:
        assert stored["y"][:].tolist() == [2 * row for row in range(ROWS)]
        assert stored["seed"][:].tolist() == [sample_seed(0, row) for row in range(ROWS)]


# --- elements that come late, or not at all


def states_of(toy: SlurmRun) -> list[Accounted]:
    """Those of all elements; several that never started have one line in the accounting."""
    return scheduler.accounting([toy.array(1)], toy.submission(1).created)


@pytest.mark.thorough
def test_elements_that_have_not_started_when_all_is_done_are_not_waited_for(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    toy = SlurmRun(slurm_here, tmp_path, "Toy", options={"array_parallelism": 1, "tasks": 3})
    toy.submit()
    assert_complete(toy)
    wait_until(lambda: all(has_ended(row) for row in states_of(toy)))
    assert {row.state for row in states_of(toy) if row.index != 0} <= {"CANCELLED", "COMPLETED"}
    assert toy.attempts(0)[0].beat.done.count == ROWS


def test_an_element_that_was_requeued_is_not_waited_for_when_others_do_its_work(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path)
    array = toy.submit()
    for shard in range(SHARDS):
        toy.await_commits(shard)
    slurm_here.run("scontrol", "requeue", f"{array}_1")
    toy.open_gate_after(array, [1])
    assert_complete(toy)
    assert toy.run.submission_numbers() == [1]
    assert len(toy.attempts(1)) == 1


# --- people


def test_elements_that_a_person_cancels_leave_their_work_to_the_others(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    # Element 2 still waits when it is cancelled: only two run at a time.
    toy = SlurmRun.gated(slurm_here, tmp_path, options={"array_parallelism": 2, "tasks": 3})
    array = toy.submit()
    toy.await_commits(1)
    slurm_here.run("scancel", f"{array}_1", f"{array}_2")
    toy.open_gate_after(array, (1, 2))
    assert_complete(toy)
    assert toy.ends(1) == [("stopped", None)]
    assert toy.run.submission_numbers() == [1]


def test_an_array_that_a_person_cancels_is_not_submitted_again(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path, options={"array_parallelism": 1, "tasks": 3})
    array = toy.submit()
    toy.await_commits(0)
    slurm_here.run("scancel", array)
    toy.open_gate_after(array, (0,))
    found = toy.end()
    assert {failure["kind"] for failure in found["failures"]} == {"CANCELLED"}
    assert sorted(shard for failure in found["failures"] for shard in failure["shards"]) == [0, 1, 2]
    assert any("rerun toy --shards 0" in failure["advice"] for failure in found["failures"])
    assert toy.run.submission_numbers() == [1]
    wait_until(lambda: toy.queued() == [])
    assert toy.rerun()["shards"] == [0, 1, 2]
    assert_complete(toy)


def test_cancel_leaves_no_slurm_job_and_no_process(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path, options={"array_parallelism": 2, "tasks": 3})
    array = toy.submit()
    for shard in (0, 1):
        toy.await_commits(shard)
    supervisors = [toy.supervisor(index) for index in (0, 1)]
    family = [p for supervisor in supervisors for p in (supervisor, *supervisor.children(recursive=True))]
    cancel = start(tmp_path, "cancel", toy.run.path)
    toy.open_gate_after(array, (0, 1))
    said, _ = cancel.communicate(timeout=PATIENCE)
    assert cancel.returncode == 0, said
    assert toy.queued() == []
    assert alive(family) == []
    found = toy.status()
    assert (found["state"], found["failures"]) == ("cancelled", [])
    assert found["samples"]["ok"] >= BATCH
    toy.rerun()
    assert toy.end()["samples"] == ALL_OK
    assert result_data(toy.run) == undisturbed_data()


def test_a_rerun_beside_a_running_array_takes_only_what_is_in_nobodys_hands(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    toy = SlurmRun.gated(slurm_here, tmp_path, "SlowAndBroken", {"marker": str(marker), "submission": 2})
    toy.submit()
    assert toy.end()["state"] == "failed"
    marker.touch()
    assert toy.rerun("--shards", "1")["shards"] == [1]
    toy.await_commits(1)
    before = toy.run.submission(2).read_bytes()
    refused = toy.launcher("rerun", toy.run.path, "--shards", "1")
    assert (refused.returncode, "waits or runs already (shards 1)" in refused.stderr) == (1, True)
    assert toy.rerun()["shards"] == [0, 2]
    assert toy.run.submission(2).read_bytes() == before
    wait_until(lambda: all(toy.closed(shard).count == ROWS_OF_SHARD for shard in (0, 2)))
    toy.open_gate()
    assert_complete(toy)
    assert [toy.attempt_with(shard * ROWS_OF_SHARD).submission for shard in range(SHARDS)] == [3, 2, 3]


def test_a_script_that_a_person_submits_is_seen_and_not_submitted_again(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path)
    planned = toy.launcher("plan", toy.config.name, "--json")
    assert planned.returncode == 0, planned.stderr
    (script,) = document(planned)["scripts"]
    assert script["path"].endswith("submissions/0001.sbatch")
    assert toy.status()["state"] == "planned"
    array = slurm_here.run("sbatch", "--parsable", script["path"]).strip()
    refused = toy.launcher("submit", toy.config.name)
    assert (refused.returncode, "waits or runs already" in refused.stderr) == (1, True)
    toy.await_commits(2)
    assert toy.status()["state"] == "running"
    assert "without a word" not in toy.launcher("status", toy.run.path).stdout
    assert toy.launcher("submit", toy.config.name).returncode == 1
    toy.open_gate()
    found = toy.end()
    assert (found["state"], found["shards"]["done"]) == ("incomplete", SHARDS)
    gathered = toy.launcher("gather", toy.run.path)
    assert gathered.returncode == 0, gathered.stderr
    again = toy.launcher("submit", toy.config.name)
    assert (again.returncode, "launcher verify" in again.stdout) == (0, True)
    assert toy.run.submission_numbers() == [1]
    toy.wait(lambda: len(accounted_elements(toy, 1)) >= SHARDS)
    assert accounted_elements(toy, 1) == [f"{array}_{index}" for index in range(SHARDS)]
    assert result_data(toy.run) == undisturbed_data()


@pytest.mark.thorough
def test_what_a_person_submits_is_seen_in_the_queue_and_can_be_cancelled(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path)
    (script,) = document(toy.launcher("plan", toy.config.name, "--json"))["scripts"]
    assert "nothing" in toy.launcher("cancel", toy.run.path).stdout
    assert toy.status()["state"] == "planned"
    slurm_here.run("sbatch", "--hold", script["path"])
    assert "1 PENDING" in (shown := toy.launcher("status", toy.run.path, "--live").stdout)
    assert "running" in shown.splitlines()[0]
    cancelled = toy.launcher("cancel", toy.run.path)
    assert (cancelled.returncode, "what is done is kept" in cancelled.stdout) == (0, True)
    assert toy.queued() == []
    assert toy.status()["state"] == "cancelled"
    toy.open_gate()
    toy.rerun()
    assert toy.end()["samples"] == ALL_OK


def accounted_elements(toy: SlurmRun, number: int) -> list[str]:
    """All array elements that Slurm ever had of a submission, whoever submitted it."""
    rows = toy.slurm.run("sacct", "-X", "-n", "-P", f"--name={job_name(toy.run, number)}", "-o", "JobID").split()
    return sorted(row for row in rows if not row.endswith("]"))


@pytest.mark.thorough
def test_what_a_person_submitted_and_lost_is_completed_by_a_rerun(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path, options={"tasks": 1})
    toy.launcher("plan", toy.config.name)
    array = slurm_here.run("sbatch", "--parsable", str(toy.run.script(1))).strip()
    toy.await_commits(0)
    toy.supervisor(0).kill()
    toy.open_gate()
    wait_until(lambda: slurm_here.run("squeue", "-h", "-j", array) == "")
    found = document(toy.launcher("status", toy.run.path, "--live", "--json"))
    assert (found["state"], [failure["kind"] for failure in found["failures"]]) == ("failed", ["LOST"])
    assert toy.rerun()["shards"] == [0, 1, 2]
    assert_complete(toy)


# --- what stands still


@pytest.mark.thorough  # minutes: nobody is taken for silent before one has passed
def test_an_element_that_stands_still_holds_up_neither_the_others_nor_the_end(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path)
    toy.submit()
    toy.wait(lambda: all(attempts and attempts[0].beat.done for attempts in map(toy.attempts, range(SHARDS))))
    supervisor = toy.supervisor(1)
    frozen = [supervisor, *supervisor.children(recursive=True)]
    for process in frozen:
        process.suspend()
    try:
        toy.open_gate()
        found = toy.end(240)
    finally:
        for process in frozen:
            if process.is_running():
                process.resume()
    assert (found["state"], found["samples"]) == ("complete", ALL_OK)
    assert result_data(toy.run) == undisturbed_data()
    assert toy.attempts(1)[0].beat.done.count < ROWS_OF_SHARD
    assert toy.accounted(1, "State")[1][0][0].startswith("CANCELLED")
    assert sum("ending what is silent" in log.read_text() for log in toy.run.logs.iterdir()) == 1
