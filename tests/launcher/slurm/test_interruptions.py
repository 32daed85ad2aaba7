"""What ends array tasks from outside under a real Slurm: time limits, nodes, other jobs, people. No sample is lost."""

import itertools
from pathlib import Path

import psutil
import pytest

from jobs.storage.journal import decode
from jobs.storage.records import Commit
from launcher.slurm.scripts import job_name
from tests.example_jobs.greedy_jobs import ROWS_OF_SHARD
from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import document, start, wait_until
from tests.support.slurm_runs import (
    BATCH,
    ROWS,
    SHARDS,
    SlurmRun,
    result_data,
    undisturbed_data,
    use_cluster,
)
from tests.support.task_runs import alive

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

ALL_OK = {"total": ROWS, "ok": ROWS, "failed": 0, "missing": 0}


@pytest.fixture
def slurm_here(clean_slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    use_cluster(clean_slurm, monkeypatch)
    return clean_slurm


def done_twice(toy: SlurmRun, shard: int) -> set[int]:
    """First rows of the batches that were committed more than once."""
    records = map(decode, toy.run.journal(shard).read_bytes().splitlines())
    commits = sorted(record.start for record in records if isinstance(record, Commit))
    return {first for first, second in itertools.pairwise(commits) if first == second}


def restarts(toy: SlurmRun, shard: int) -> list[int]:
    """Slurm's restart count at each attempt of a shard."""
    return [attempt.start.restart for attempt in toy.attempts(shard)]


def ends(toy: SlurmRun, shard: int) -> list[tuple[str, str | None] | None]:
    return [(a.end.reason, a.end.kind) if a.end else None for a in toy.attempts(shard)]


def test_the_time_limit_gives_more_time_only_to_what_makes_no_progress(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    # A minute is Slurm's least. Shards 0 and 2 need longer, but 2 cannot requeue itself; 1 hangs at its first sample.
    params = {"delay": 4.0, "stuck": [ROWS_OF_SHARD]}
    no_scontrol = "if [ $SLURM_ARRAY_TASK_ID = 2 ]; then PATH=/no/commands; fi"
    (tmp_path / "site.sbatch").write_text(f"#!/bin/bash\n{no_scontrol}\n# launcher: command\n")
    options = {"time": "1", "template": "site.sbatch"}
    sections = {"options": options, "node": {"batch_size": 1}, "retry": {"time_factor": 3}}
    toy = SlurmRun(slurm_here, tmp_path, "tests.example_jobs.greedy_jobs:Slow", params, **sections)
    array = toy.submit()
    toy.await_state(f"{array}_0", "PENDING", 90)
    toy.resume(f"{array}_0")
    found = toy.end()
    assert (found["state"], found["samples"]) == ("complete", ALL_OK)
    assert ends(toy, 0) == [("stopped", None), ("done", None)]
    assert restarts(toy, 0) == [0, 1]
    end = toy.attempts(0)[0].end
    assert end
    assert 0 < end.committed < ROWS_OF_SHARD
    assert ends(toy, 1) == [("failed", "TIMEOUT"), ("done", None)]
    assert ends(toy, 2) == [("stopped", None), ("done", None)]
    assert (restarts(toy, 2), toy.accounted(1, "ExitCode")[2]) == ([0, 0], [["75:0"]])
    assert [toy.submission(number).shards for number in toy.run.submission_numbers()] == [(0, 1, 2), (1,), (2,)]
    assert [toy.submission(number).resources.attempt for number in (2, 3)] == [2, 1]
    limits = [set(itertools.chain(*itertools.chain(*toy.accounted(n, "Timelimit").values()))) for n in (1, 2, 3)]
    assert limits == [{"00:01:00"}, {"00:03:00"}, {"00:01:00"}]
    assert [done_twice(toy, shard) for shard in range(SHARDS)] == [set()] * SHARDS
    assert result_data(toy.run) == undisturbed_data()


def test_a_dead_node_costs_no_sample_and_is_avoided_by_what_slurm_does_not_requeue(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path, options={"exclusive": True})  # a node for each shard
    array = toy.submit()
    for shard in range(SHARDS):
        toy.await_commits(shard)
    requeued, failed = toy.node_of(f"{array}_0"), toy.node_of(f"{array}_1")
    slurm_here.run("scontrol", "update", f"JobId={array}_1", "Requeue=0")
    for node in (requeued, failed):
        slurm_here.kill_node(node, noticed=True)
    toy.open_gate()
    toy.resume(f"{array}_0")
    found = toy.end()
    assert (found["state"], found["samples"]) == ("complete", ALL_OK)
    assert restarts(toy, 0) == [0, 1]
    assert toy.accounted(1, "State", "NodeList")[1] == [["NODE_FAIL", failed]]
    assert toy.submission(2).shards == (1,)
    assert toy.asked(2, "exclude") == failed
    hosts = [attempt.start.host for attempt in toy.attempts(1)]
    assert (hosts[0], hosts[1] not in (requeued, failed)) == (failed, True)
    assert [done_twice(toy, shard) for shard in range(SHARDS)] == [set()] * SHARDS
    assert result_data(toy.run) == undisturbed_data()


def test_a_preempted_shard_goes_on_where_it_was_and_costs_no_attempt(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path, options={"nodelist": "n1"}, retry={"attempts": 1})
    array = toy.submit()
    for shard in range(SHARDS):
        toy.await_commits(shard)
    slurm_here.run("scontrol", "update", f"JobId={array}_1", "Requeue=0")
    urgent = ("--partition=urgent", "--nodelist=n1", "--exclusive", "--output=/dev/null", "--wrap=true")
    slurm_here.run("sbatch", *urgent)
    toy.open_gate_after(array, range(SHARDS))
    for shard in (0, 2):
        toy.resume(f"{array}_{shard}")
    found = toy.end()
    assert (found["state"], found["samples"]) == ("complete", ALL_OK)
    assert (toy.submission(2).shards, toy.submission(2).resources.attempt) == ((1,), 1)
    assert [restarts(toy, shard) for shard in range(SHARDS)] == [[0, 1], [0, 0], [0, 1]]
    assert {rows[0][0] for rows in toy.accounted(1, "State").values()} == {"PREEMPTED"}
    assert [done_twice(toy, shard) for shard in range(SHARDS)] == [set()] * SHARDS
    assert result_data(toy.run) == undisturbed_data()


def test_elements_that_a_person_cancels_are_left_until_a_rerun(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    # Shard 2 still waits when it is cancelled: only two run at a time.
    toy = SlurmRun.gated(slurm_here, tmp_path, options={"array_parallelism": 2})
    array = toy.submit()
    toy.await_commits(1)
    slurm_here.run("scancel", f"{array}_1", f"{array}_2")
    toy.open_gate_after(array, (1, 2))
    found = toy.end()
    assert (found["state"], found["shards"]["done"]) == ("failed", 1)
    assert {failure["kind"] for failure in found["failures"]} == {"CANCELLED"}
    assert sorted(shard for failure in found["failures"] for shard in failure["shards"]) == [1, 2]
    assert "rerun toy --shards 1" in found["failures"][0]["advice"]
    assert ends(toy, 1) == [("stopped", None)]
    assert toy.run.submission_numbers() == [1]
    assert toy.rerun()["shards"] == [1, 2]
    assert toy.end()["samples"] == ALL_OK
    assert [done_twice(toy, shard) for shard in range(SHARDS)] == [set()] * SHARDS
    assert result_data(toy.run) == undisturbed_data()


def test_an_array_that_a_person_cancels_is_not_submitted_again(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path, options={"array_parallelism": 1})
    array = toy.submit()
    toy.await_commits(0)
    slurm_here.run("scancel", array)
    toy.open_gate_after(array, (0,))
    found = toy.end()
    assert {failure["kind"] for failure in found["failures"]} == {"CANCELLED"}
    assert sorted(shard for failure in found["failures"] for shard in failure["shards"]) == [0, 1, 2]
    assert toy.run.submission_numbers() == [1]
    wait_until(lambda: toy.queued() == [])


def test_cancel_leaves_no_slurm_job_and_no_process(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path, options={"array_parallelism": 2})
    array = toy.submit()
    for shard in (0, 1):
        toy.await_commits(shard)
    supervisors = [psutil.Process(toy.attempts(shard)[0].start.pid) for shard in (0, 1)]
    family = [p for supervisor in supervisors for p in (supervisor, *supervisor.children(recursive=True))]
    cancel = start(tmp_path, "cancel", toy.run.path)
    toy.open_gate_after(array, (0, 1))
    said, _ = cancel.communicate(timeout=60)
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
    assert (refused.returncode, "running now (shards 1)" in refused.stderr) == (1, True)
    assert toy.rerun()["shards"] == [0, 2]
    assert toy.run.submission(2).read_bytes() == before
    wait_until(lambda: toy.run.shard_done(0).exists() and toy.run.shard_done(2).exists())
    toy.open_gate()
    found = toy.end()
    assert (found["state"], found["samples"]) == ("complete", ALL_OK)
    assert [[a.start.submission for a in toy.attempts(shard)] for shard in range(SHARDS)] == [[1, 3], [1, 2], [1, 3]]
    assert result_data(toy.run) == undisturbed_data()


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
    assert (refused.returncode, "running now" in refused.stderr) == (1, True)
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


def test_what_a_person_submitted_and_lost_is_completed_by_a_rerun(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun.gated(slurm_here, tmp_path)
    toy.launcher("plan", toy.config.name)
    array = slurm_here.run("sbatch", "--parsable", str(toy.run.script(1))).strip()
    toy.await_commits(1)
    psutil.Process(toy.attempts(1)[0].start.pid).kill()
    toy.open_gate()
    wait_until(lambda: slurm_here.run("squeue", "-h", "-j", array) == "")
    found = document(toy.launcher("status", toy.run.path, "--live", "--json"))
    assert (found["state"], [failure["kind"] for failure in found["failures"]]) == ("failed", ["LOST"])
    assert toy.rerun()["shards"] == [1]
    assert toy.end()["samples"] == ALL_OK
    assert result_data(toy.run) == undisturbed_data()
