"""Runs without a finalize job: `launcher run` on the login node ends them, whoever kills it, however often it is started."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from jobs.storage import checked_json
from launcher.runs.attendant import find_attendant
from launcher.slurm.scripts import job_name
from tests.support.launcher_runs import kill, start, wait_until
from tests.support.patience import PATIENCE
from tests.support.slurm_fixtures import BringUp
from tests.support.slurm_runs import ROWS, SHARDS, SlurmRun, result_data, undisturbed_data

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("sites")]

ALL_OK = {"total": ROWS, "ok": ROWS, "failed": 0, "missing": 0}
GOES_ON = 75


def jobs_of(toy: SlurmRun) -> list[str]:
    """The ends of the names of all Slurm jobs that the run has had lately, an array once."""
    prefix = job_name(toy.run, 0).removesuffix("0")
    rows = set(toy.slurm.run("squeue", "-h", "-t", "all", "-o", "%F %j").splitlines())
    return sorted(name.removeprefix(prefix) for _, name in map(str.split, rows) if name.startswith(prefix))


def assert_complete(toy: SlurmRun) -> None:
    found = toy.status()
    assert (found["state"], found["samples"]) == ("complete", ALL_OK)
    assert toy.closed_twice() == 0
    assert result_data(toy.run) == undisturbed_data()


def await_attendant(toy: SlurmRun) -> None:
    wait_until(lambda: toy.run.submissions.is_dir() and find_attendant(toy.run))


def end_by_cron(toy: SlurmRun) -> int:
    """`launcher run --once` as long as it says that the run goes on; returns the last exit code."""
    codes = [GOES_ON]

    def came_to_an_end() -> bool:
        codes.append(toy.launcher("run", toy.run.path, "--once").returncode)
        return codes[-1] != GOES_ON

    wait_until(came_to_an_end)
    return codes[-1]


@pytest.mark.thorough
def test_launcher_run_tries_again_and_gathers_where_there_is_no_finalize_job(site: BringUp, tmp_path: Path) -> None:
    options = {"finalize": "none", "tasks": 1}
    toy = SlurmRun.gated(site("no-accounting"), tmp_path, options=options)
    process = start(tmp_path, "run", toy.config.name)
    await_attendant(toy)
    toy.await_commits(0)
    by = toy.status()["finalized_by"]
    assert (by["by"], by["pid"]) == ("launcher", process.pid)
    toy.supervisor(0).kill()
    toy.open_gate()
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, said
    assert_complete(toy)
    assert (toy.run.submission_numbers(), jobs_of(toy)) == ([1, 2], ["1", "2"])
    assert find_attendant(toy.run) is None


@pytest.mark.thorough
def test_a_launcher_that_was_killed_goes_on_by_cron_and_two_are_one(site: BringUp, tmp_path: Path) -> None:
    toy = SlurmRun.gated(site("no-accounting"), tmp_path, options={"finalize": "none"})
    assert toy.launcher("run", toy.config.name, "--once").returncode == GOES_ON
    first = start(tmp_path, "run", toy.run.path)
    await_attendant(toy)
    second = toy.launcher("run", toy.run.path)
    assert (second.returncode, f"process {first.pid} on" in second.stderr) == (1, True)
    third = toy.launcher("run", toy.run.path, "--once", "--set", "retry.attempts=9")
    assert (third.returncode, "launcher rerun toy --set retry.attempts=9" in third.stderr) == (GOES_ON, True), (
        third.stderr
    )
    toy.await_commits(0)
    kill(first)
    shown = toy.launcher("status", toy.run.path).stdout
    assert re.search(r"finalized by: nobody: type `launcher run \S+`", shown), shown
    assert re.search(r"next: launcher run \S+$", shown.strip()), shown
    toy.open_gate()
    assert end_by_cron(toy) == 0
    assert_complete(toy)
    assert jobs_of(toy) == ["1"]
    assert toy.launcher("run", toy.run.path, "--once").returncode == 0


@pytest.mark.thorough
def test_a_launcher_whose_terminal_closes_leaves_the_tasks_alone_and_says_how_to_go_on(
    site: BringUp, tmp_path: Path
) -> None:
    toy = SlurmRun.gated(site("no-accounting"), tmp_path, options={"finalize": "none"})
    process = start(tmp_path, "run", toy.config.name)
    await_attendant(toy)
    toy.await_commits(0)
    process.send_signal(signal.SIGHUP)
    said = process.communicate(timeout=PATIENCE)[0]
    assert (process.returncode, "to go on with the run: launcher run toy" in said) == (130, True), said
    assert find_attendant(toy.run) is None
    assert set(toy.queued()) == {job_name(toy.run, 1)}
    assert toy.launcher("cancel", toy.run.path).returncode == 0
    assert (toy.status()["state"], toy.queued()) == ("cancelled", [])
    assert toy.launcher("run", toy.run.path, "--once").returncode == 1


# --- what Slurm refuses


@pytest.mark.thorough
def test_refused_dependencies_are_told_before_anything_is_submitted_and_launcher_run_does_without(
    site: BringUp, tmp_path: Path
) -> None:
    toy = SlurmRun(site("no-dependencies"), tmp_path, "Toy")
    refused = toy.launcher("submit", toy.config.name)
    assert refused.returncode == 2
    assert "Nothing is submitted" in refused.stderr
    assert "--set slurm.finalize=none" in refused.stderr
    assert (toy.queued(), toy.run.submission_numbers()) == ([], [])
    for command in ("doctor", "plan"):
        told = toy.launcher(command, toy.config.name)
        assert told.returncode == 0, told.stderr
        assert "sbatch refuses it: Job dependencies" in told.stdout
    done = toy.launcher("run", toy.config.name)
    assert done.returncode == 0, done.stderr
    assert "This command stays" in done.stderr
    assert_complete(toy)


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """An sbatch that comes first on PATH, here and in the jobs that inherit it."""
    program = folder / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/bash\nfor word in "$@"; do [ -f "$word" ] && script=$word; done\n{body}\nexec {shutil.which("sbatch")} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.mark.thorough
def test_what_only_a_real_submission_refuses_leaves_an_array_that_is_told(
    site: BringUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = site("no-accounting")
    refuse = 'echo "sbatch: error: Batch job submission failed: Unspecified error" >&2; exit 1'
    stand_in(tmp_path, monkeypatch, f'case "$*" in *test-only*) ;; *finalize*) {refuse} ;; esac')
    toy = SlurmRun(cluster, tmp_path, "Toy")
    refused = toy.launcher("submit", toy.config.name)
    array = toy.array(1)
    assert refused.returncode == 2
    assert f"Slurm job {array} runs, but the job that would write its result is refused" in refused.stderr
    assert "`launcher run toy` tries again what failed and gathers the result" in refused.stderr
    assert toy.status()["finalized_by"] == {"by": "nobody"}
    assert end_by_cron(toy) == 0
    assert_complete(toy)


@pytest.mark.thorough
def test_a_finalize_job_goes_elsewhere_where_its_partition_is_for_gpu_jobs(site: BringUp, tmp_path: Path) -> None:
    options = {"partition": "gpu", "gpus_per_task": 1, "hold": True}
    toy = SlurmRun(site("gpu-only-partition"), tmp_path, "Toy", options=options)
    toy.submit()
    rows = dict(line.split() for line in toy.slurm.run("squeue", "-h", "-o", "%j %P").splitlines())
    assert {name.partition(".")[2]: partition for name, partition in rows.items()} == {"1": "gpu", "1-finalize": "main"}


# Whether the script runs in a job: its variables are not handed down to sbatch.
INSIDE = """inside() {
  local pid=$$
  while [ "${pid:-1}" -gt 1 ]; do
    grep -q slurmstepd /proc/$pid/cmdline && return 0
    pid=$(awk '/^PPid/ {print $2}' /proc/$pid/status)
  done
  return 1
}
"""


def test_retries_of_a_node_that_may_not_submit_wait_for_launcher_run(
    site: BringUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = site("no-accounting")
    refuse = 'echo "sbatch: error: Batch job submission failed: Access/permission denied" >&2; exit 1'
    stand_in(tmp_path, monkeypatch, f"{INSIDE}inside && {{ {refuse}; }}")
    toy = SlurmRun.gated(cluster, tmp_path, options={"tasks": 1})
    toy.submit()
    toy.await_commits(0)
    toy.supervisor(0).kill()
    toy.open_gate()
    found = toy.end()
    assert (found["state"], found["finalized_by"]) == ("incomplete", {"by": "nobody"})
    assert "this node may not submit" in found["error"]
    assert toy.launcher("status", toy.run.path).stdout.strip().endswith("next: launcher run toy")
    done = toy.launcher("run", toy.run.path)
    assert done.returncode == 0, done.stderr
    assert_complete(toy)


@pytest.mark.thorough
def test_why_a_retry_waits_is_told_until_slurm_takes_it(
    site: BringUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, limit = site("no-accounting"), tmp_path / "limit"
    refuse = 'echo "sbatch: error: AssocMaxSubmitJobLimit" >&2; exit 1'
    stand_in(tmp_path, monkeypatch, f"{INSIDE}inside && [ -e {limit} ] && {{ {refuse}; }}")
    toy = SlurmRun.gated(cluster, tmp_path, options={"tasks": 1})
    toy.submit()
    finalizer = toy.submission(1).finalize_id
    assert finalizer
    toy.await_commits(0)
    limit.touch()
    toy.supervisor(0).kill()
    toy.open_gate()
    toy.wait(lambda: cluster.job_states(finalizer) == {finalizer: "PENDING"} and toy.run.outcome(1).exists())
    found = toy.status()
    assert (found["state"], found["finalized_by"]) == ("running", {"by": "job", "job_id": finalizer})
    assert [note for note in found["notes"] if note.startswith("tried again in some minutes: ")], found["notes"]
    assert "AssocMaxSubmitJobLimit" in toy.launcher("status", toy.run.path).stdout
    limit.unlink()
    toy.wait(lambda: cluster.start_now(finalizer))
    toy.wait(lambda: "notes" not in toy.status())
    assert toy.end()["state"] == "complete"
    assert_complete(toy)


@pytest.mark.thorough
def test_a_partition_that_this_machine_may_not_use_is_told_as_that(site: BringUp, tmp_path: Path) -> None:
    partition = "PartitionName=main Nodes=ALL Default=YES PriorityTier=1 AllocNodes=elsewhere"
    toy = SlurmRun(site("no-accounting", partition), tmp_path, "Toy")
    refused = toy.launcher("submit", toy.config.name)
    assert (refused.returncode, "Access/permission denied" in refused.stderr) == (2, True), refused.stderr
    assert "finalize" not in refused.stderr
    assert toy.run.submission_numbers() == []


@pytest.mark.parametrize("kind", ["MaxArraySize=0", pytest.param("plugin", marks=pytest.mark.thorough)])
def test_without_job_arrays_each_array_task_is_a_job(
    site: BringUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    cluster = site("no-accounting", *([kind] if kind != "plugin" else []))
    refuse = 'echo "sbatch: error: Job arrays are not allowed here" >&2; exit 1'
    if kind == "plugin":
        stand_in(tmp_path, monkeypatch, f'[ -e "$script" ] && grep -q "^#SBATCH --array" "$script" && {{ {refuse}; }}')
    toy = SlurmRun.gated(cluster, tmp_path, options={"tasks": 3})
    done = toy.launcher("submit", toy.config.name, "--json")
    assert done.returncode == 0, done.stderr
    assert len(set(toy.submission(1).job_ids)) == 3
    for shard in range(SHARDS):
        toy.await_commits(shard)
    toy.supervisor(1).kill()
    toy.open_gate()
    assert toy.end()["state"] == "complete"
    assert result_data(toy.run) == undisturbed_data()
    assert jobs_of(toy) == ["1-0", "1-1", "1-2", "1-finalize"]


@pytest.mark.thorough
def test_tasks_that_are_jobs_are_cancelled_and_followed_by_others(site: BringUp, tmp_path: Path) -> None:
    toy = SlurmRun.gated(site("no-accounting", "MaxArraySize=0"), tmp_path, options={"tasks": 2, "finalize": "none"})
    toy.submit()
    for index in (0, 1):
        wait_until(lambda index=index: toy.attempts(index))  # type: ignore[misc]
    assert toy.launcher("cancel", toy.run.path).returncode == 0
    assert (toy.status()["state"], toy.queued()) == ("cancelled", [])
    toy.rerun()
    assert end_by_cron(toy) == 0
    assert_complete(toy)


# --- retries


@pytest.mark.thorough
def test_a_refused_retry_spares_the_others_and_stays_in_sight(
    site: BringUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = site("no-accounting")
    refuse = 'echo "sbatch: error: Memory specification can not be satisfied" >&2; exit 1'
    stand_in(tmp_path, monkeypatch, f'[ -e "$script" ] && grep -q "^#SBATCH --mem=1200M" "$script" && {{ {refuse}; }}')
    params, tight = {"megabytes": 1200, "gate": str(tmp_path / "gate")}, "tests.example_jobs.greedy_jobs:Tight"
    toy = SlurmRun(cluster, tmp_path, tight, params, retry={"memory_factor": 2}, options={"tasks": 2})
    toy.submit()
    toy.await_commits(0)
    toy.wait(lambda: toy.ends(1) == [("failed", "OUT_OF_MEMORY")])
    toy.supervisor(0).kill()
    toy.open_gate()
    found = toy.end()
    assert (found["state"], found["shards"]["done"] > 0, found["shards"]["running"]) == ("failed", True, 0)
    assert [one["kind"] for one in found["failures"]] == ["OUT_OF_MEMORY"]
    assert "another attempt is refused" in found["error"]
    assert "Memory specification can not be satisfied" in found["error"]
    assert toy.run.submission_numbers() == [1, 3]
    wait_until(lambda: toy.queued() == [])


# --- a finalize job that is killed


@pytest.mark.thorough
def test_a_finalize_job_that_was_killed_is_noticed_without_asking_and_launcher_run_goes_on(
    site: BringUp, tmp_path: Path
) -> None:
    folded = "tests.example_jobs.greedy_jobs:SlowlyFolded"
    toy = SlurmRun(site("no-accounting"), tmp_path, folded, {"gate": str(tmp_path / "gate")})
    toy.submit()
    toy.wait(lambda: toy.run.ending(1).exists())
    assert toy.status()["finalized_by"] == {"by": "job", "job_id": toy.submission(1).finalize_id}
    os.kill(checked_json.decode(toy.run.ending(1).read_bytes())["pid"], signal.SIGKILL)
    wait_until(lambda: toy.status()["state"] != "running")
    shown = toy.launcher("status", toy.run.path)
    assert (shown.returncode, "ended without a word" in shown.stdout) == (1, True), shown.stdout
    wait_until(lambda: toy.queued() == [])
    toy.open_gate()
    done = toy.launcher("run", toy.run.path)
    assert done.returncode == 0, done.stderr
    assert (toy.status()["state"], toy.run.submission_numbers()) == ("complete", [1])


@pytest.mark.thorough
def test_launcher_run_tries_again_what_a_killed_finalize_job_has_not(site: BringUp, tmp_path: Path) -> None:
    toy = SlurmRun.gated(site("no-accounting"), tmp_path, options={"tasks": 1})
    toy.submit()
    toy.await_commits(0)
    toy.supervisor(0).kill()
    toy.wait(lambda: toy.run.ending(1).exists() and toy.run.ending(1).read_bytes())
    os.kill(checked_json.decode(toy.run.ending(1).read_bytes())["pid"], signal.SIGKILL)
    toy.open_gate()
    wait_until(lambda: toy.queued() == [])
    assert toy.status()["state"] == "failed"
    done = toy.launcher("run", toy.run.path)
    assert done.returncode == 0, done.stderr
    assert_complete(toy)
    assert (toy.run.submission_numbers(), jobs_of(toy)) == ([1, 2], ["1", "1-finalize", "2"])
