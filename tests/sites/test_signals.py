"""How sites make room, stop tasks and warn them, each on a Slurm that is set up so: no sample is lost, none is blamed."""

from pathlib import Path

import pytest

from jobs.machine.allocation import WARNED
from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import wait_until
from tests.support.slurm_fixtures import BringUp
from tests.support.slurm_runs import BATCH, ROWS, SlurmRun, result_data, undisturbed_data

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("sites")]

ALL_OK = {"total": ROWS, "ok": ROWS, "failed": 0, "missing": 0}
SITE = "preemption"


def urgent(slurm: SlurmCluster, node: str, command: str = "true") -> str:
    """A job that takes a whole node from those of other partitions."""
    options = ("--partition=urgent", f"--nodelist={node}", "--exclusive", "--output=/dev/null", f"--wrap={command}")
    return slurm.run("sbatch", "--parsable", *options).strip()


def assert_complete(toy: SlurmRun) -> None:
    found = toy.end()
    assert (found["state"], found["samples"], found["failures"]) == ("complete", ALL_OK, [])
    assert toy.closed_twice() == 0
    assert result_data(toy.run) == undisturbed_data()


@pytest.mark.parametrize(
    ("partition", "requeue"), [("cancelled", True), pytest.param("requeued", False, marks=pytest.mark.thorough)]
)
def test_what_is_preempted_for_good_goes_on_in_another_submission_and_costs_no_attempt(
    site: BringUp, tmp_path: Path, partition: str, requeue: bool
) -> None:
    slurm = site(SITE)
    options = {"partition": partition, "nodelist": "n1", "tasks": 1, "requeue": requeue, "time": "1:00:00"}
    toy = SlurmRun.gated(slurm, tmp_path, options=options, retry={"attempts": 1})
    array = toy.submit()
    toy.await_commits(0)
    urgent(slurm, "n1")
    toy.open_gate_after(array, [0])
    assert_complete(toy)
    assert toy.ends(0) == [("stopped", None)]
    assert (toy.run.submission_numbers(), toy.submission(2).resources.attempt) == ([1, 2], 1)


@pytest.mark.thorough
def test_what_is_suspended_for_longer_than_a_sample_may_take_goes_on_where_it_was(
    site: BringUp, tmp_path: Path
) -> None:
    slurm = site(SITE)
    options = {"partition": "suspended", "nodelist": "n1", "tasks": 1, "time": "1:00:00"}
    toy = SlurmRun.gated(slurm, tmp_path, options=options, node={"sample_timeout": 8, "sync_interval": 1})
    array = toy.submit()
    toy.await_commits(0)
    other = urgent(slurm, "n1", "sleep 10")
    toy.await_state(f"{array}_0", "SUSPENDED")
    toy.open_gate()
    toy.wait(lambda: slurm.job_states(other).get(other) == "COMPLETED")
    assert_complete(toy)
    assert toy.ends(0) == [("done", None)]
    assert toy.run.submission_numbers() == [1]


def test_a_warning_while_the_template_loads_modules_reaches_the_task_that_follows(
    site: BringUp, tmp_path: Path
) -> None:
    slurm = site(SITE)
    begun, warned = tmp_path / "begun", tmp_path / "warned"
    # The first task loads until the warning has come, which is on its way for a while.
    loads = f"until [ ${WARNED} ] || [ -e {warned} ]; do sleep 0.1; done"
    lines = ["#!/bin/bash", f"touch {begun}", loads, f"touch {warned}", "# launcher: command", ""]
    (tmp_path / "site.sbatch").write_text("\n".join(lines))
    options = {"template": "site.sbatch", "tasks": 1, "requeue": False, "time": "1:00:00"}
    toy = SlurmRun(slurm, tmp_path, "Toy", options=options)
    array = toy.submit()
    wait_until(begun.exists)
    slurm.run("scancel", "--signal=USR2", "--batch", f"{array}_0")
    assert_complete(toy)
    assert [toy.ends(0, number) for number in (1, 2)] == [[("stopped", None)], [("done", None)]]


@pytest.mark.thorough
def test_the_time_that_a_partition_gives_is_told_and_left_time_to_work_in(site: BringUp, tmp_path: Path) -> None:
    toy = SlurmRun(site(SITE), tmp_path, "Toy", options={"partition": "short", "tasks": 1})
    planned = toy.launcher("plan", toy.config.name)
    told = "each array task has 0:01:00, as its partition gives; slurm.time asks for another time"
    assert told in planned.stdout + planned.stderr
    submitted = toy.launcher("submit", toy.config.name)
    assert told in submitted.stdout + submitted.stderr
    assert toy.asked(1, "signal") == "B:USR2@15"
    assert_complete(toy)
    assert "each array task has" not in toy.launcher("plan", toy.config.name, "--set", "slurm.time=5").stdout


@pytest.mark.thorough
def test_a_task_leaves_before_its_limit_where_it_might_run_over_it(site: BringUp, tmp_path: Path) -> None:
    slurm = site(SITE, "OverTimeLimit=2")
    options = {"time": "1", "tasks": 1, "requeue": False}
    job = "tests.example_jobs.greedy_jobs:Slow"
    toy = SlurmRun(slurm, tmp_path, job, {"delay": 4.0}, options=options, node={"batch_size": 1})
    toy.submit()
    assert_complete(toy)
    assert [toy.ends(0, number) for number in (1, 2)] == [[("stopped", None)], [("done", None)]]
    assert toy.submission(2).resources.attempt == 1


@pytest.mark.thorough
def test_jobs_that_take_turns_fail_no_sample_of_each_other(site: BringUp, tmp_path: Path) -> None:
    gang = "PartitionName=gang Nodes=ALL PriorityTier=1 PreemptMode=GANG OverSubscribe=FORCE:2"
    slurm = site(SITE, "SchedulerTimeSlice=5", gang)
    options = {"partition": "gang", "nodelist": "n1", "tasks": 1, "time": "1:00:00", "cpus_per_task": 8}
    job, node = "tests.example_jobs.greedy_jobs:Slow", {"sample_timeout": 4, "sync_interval": 1}
    toy = SlurmRun(slurm, tmp_path, job, {"delay": 0.5}, options=options, node=node)
    other = ("--partition=gang", "--nodelist=n1", "--cpus-per-task=8", "--output=/dev/null", "--wrap=sleep 60")
    slurm.run("sbatch", "--mem=300M", *other)
    array = toy.submit()
    toy.await_state(f"{array}_0", "SUSPENDED")
    assert_complete(toy)
    assert toy.ends(0) == [("done", None)]


@pytest.mark.thorough
def test_what_slurm_itself_ends_for_its_memory_gets_more_of_it(site: BringUp, tmp_path: Path) -> None:
    params, retry = {"process": {"20": 200}}, {"memory_factor": 4, "attempts": 2}
    job = "tests.example_jobs.greedy_jobs:Hungry"
    toy = SlurmRun(site("over-memory-kill"), tmp_path, job, params, options={"tasks": 1}, retry=retry)
    toy.submit()
    assert_complete(toy)
    assert {kind for _, kind in toy.ends(0)} <= {"OUT_OF_MEMORY", None}


@pytest.mark.thorough
def test_jobs_take_turns_where_nothing_is_preempted_too(site: BringUp, tmp_path: Path) -> None:
    lines = ("PreemptType=preempt/none", "PreemptMode=GANG", "SchedulerTimeSlice=5")
    partition = "PartitionName=gang Nodes=ALL OverSubscribe=FORCE:2"
    slurm = site(
        "no-accounting", *lines, partition, "PartitionName=main Nodes=ALL Default=YES", "PartitionName=urgent="
    )
    options = {"partition": "gang", "nodelist": "n1", "tasks": 1, "time": "1:00:00", "cpus_per_task": 8}
    job, node = "tests.example_jobs.greedy_jobs:Slow", {"sample_timeout": 4, "sync_interval": 1, "workers": 3}
    toy = SlurmRun(slurm, tmp_path, job, {"delay": 0.5}, options=options, node=node)
    other = ("--partition=gang", "--nodelist=n1", "--cpus-per-task=8", "--output=/dev/null", "--wrap=sleep 60")
    slurm.run("sbatch", "--mem=300M", *other)
    array = toy.submit()
    toy.await_state(f"{array}_0", "SUSPENDED")
    assert_complete(toy)
    assert toy.ends(0) == [("done", None)]


@pytest.mark.thorough
@pytest.mark.parametrize("comes_back", [True, False])
def test_what_is_taken_over_while_its_task_is_suspended_is_in_the_result_once(
    site: BringUp, tmp_path: Path, comes_back: bool
) -> None:
    slurm = site(SITE)
    options = {"tasks": 2, "cpus_per_task": 8, "time": "1:00:00"}
    node = {"sync_interval": 1, "workers": 2, "sample_timeout": 20}
    toy = SlurmRun.gated(slurm, tmp_path, params={"delay": 1.0}, options=options, node=node)
    array = toy.submit()
    toy.wait(lambda: all(any(attempt.beat.done for attempt in toy.attempts(index)) for index in (0, 1)))
    slurm.run("scontrol", "suspend", f"{array}_0")
    toy.await_state(f"{array}_0", "SUSPENDED")
    toy.open_gate()
    had = toy.attempts(0)[0].beat.done
    toy.wait(lambda: (toy.attempts(1)[0].beat.done | had).count > ROWS * 3 // 4, 180)
    if comes_back:
        slurm.run("scontrol", "resume", f"{array}_0")
    found = toy.end(240)
    assert (found["state"], found["samples"], found["failures"]) == ("complete", ALL_OK, [])
    assert result_data(toy.run) == undisturbed_data()
    assert toy.run.submission_numbers() == [1]
    # What its pool workers had in their slots may be stored twice; of the rest nothing is.
    assert toy.closed_twice() <= (node["workers"] * 2 + 1) * BATCH
