"""A run can be submitted as sites and their users have it: limits, accounts, scripts, plugins, missing commands."""

import os
import shutil
from pathlib import Path

import pytest

import launcher.results
from jobs.storage.attempts import Attempts
from launcher.runs.submissions import update
from launcher.slurm.scripts import job_name
from tests.support.launcher_runs import ROOT
from tests.support.slurm_fixtures import BringUp
from tests.support.slurm_runs import SlurmRun, start_of

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("sites")]

_SCHEDULER = "sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0"


def template(folder: Path, *lines: str) -> str:
    """A site's own script in the folder of a config, as slurm.template."""
    (folder / "own.sbatch").write_text("\n".join(["#!/bin/bash", *lines, "# launcher: command", ""]))
    return "./own.sbatch"


def jobs_of(toy: SlurmRun, fields: str) -> dict[str, str]:
    """What squeue tells in these fields of the run's array and of its finalize job."""
    rows = toy.slurm.run("squeue", "--all", "--noheader", f"--format=%j|{fields}").splitlines()
    pairs = [line.split("|", 1) for line in rows]
    own = job_name(toy.run, 1)
    return {"finalize" if name != own else "array": said for name, said in pairs if name.startswith(own)}


@pytest.mark.thorough
def test_without_sacctmgr_there_are_no_limits_known(
    site: BringUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = SlurmRun(site("accounting"), tmp_path, "Toy", options={"hold": True})
    folder = tmp_path / "bin"
    folder.mkdir()
    for path in os.environ["PATH"].split(os.pathsep):
        for program in Path(path).iterdir() if Path(path).is_dir() else ():
            if program.name != "sacctmgr" and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    monkeypatch.setenv("PATH", str(folder))
    assert shutil.which("sbatch")
    toy.submit()
    assert len(toy.queued()) == 2


def test_an_array_is_no_larger_than_the_scheduler_lets_run(site: BringUp, tmp_path: Path) -> None:
    cluster = site("no-accounting", f"SchedulerParameters={_SCHEDULER},max_array_tasks=3")
    toy = SlurmRun(cluster, tmp_path, "Toy", shards=8, options={"hold": True, "tasks": 8})
    toy.submit()
    assert toy.submission(1).tasks == 3


@pytest.mark.thorough
def test_array_parallelism_is_the_runs_in_all_its_arrays(site: BringUp, tmp_path: Path) -> None:
    toy = SlurmRun.gated(site("no-accounting"), tmp_path, options={"array_parallelism": 1})
    assert toy.launcher("plan", toy.config.name).returncode == 0
    toy.rerun("--shards", "0")
    toy.rerun("--shards", "1,2")
    assert toy.run.submission_numbers() == [1, 2]
    assert toy.submission(2).job_ids == ()  # held back, for the finalize job of the first
    toy.open_gate()
    assert toy.end()["state"] == "complete"
    first, second = (Attempts(toy.run, number).read() for number in (1, 2))
    assert max(attempt.beat.time for attempt in first) < min(start_of(attempt).time for attempt in second)


@pytest.mark.thorough
def test_limits_of_another_account_are_none_of_this_one(site: BringUp, tmp_path: Path) -> None:
    cluster = site("accounting")
    for account, tasks in (("lab", 8), ("debug", 1)):
        options = {"hold": True, "tasks": 8, "account": account}
        toy = SlurmRun(cluster, tmp_path / account, "Toy", shards=8, options=options)
        toy.submit()
        assert toy.submission(1).tasks == tasks


@pytest.mark.thorough
def test_the_finalize_job_goes_where_the_users_own_script_does(site: BringUp, tmp_path: Path) -> None:
    own = template(tmp_path, "#SBATCH -p urgent", "#SBATCH --account=paid --mem=300M --hold")
    toy = SlurmRun(site("accounting"), tmp_path, "Toy", options={"template": own})
    toy.submit()
    assert jobs_of(toy, "%P %a") == {"array": "urgent paid", "finalize": "urgent paid"}


@pytest.mark.thorough
def test_variables_of_sbatch_hold_for_array_and_finalize_job(
    site: BringUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = SlurmRun(site("no-accounting"), tmp_path, "Toy", options={"hold": True})
    monkeypatch.setenv("SBATCH_PARTITION", "urgent")
    toy.submit()
    assert jobs_of(toy, "%P") == {"array": "urgent", "finalize": "urgent"}


@pytest.mark.thorough
def test_a_run_follows_a_job_of_the_users_and_its_result_follows_its_array(site: BringUp, tmp_path: Path) -> None:
    cluster = site("no-accounting")
    before = cluster.run("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true").strip()
    toy = SlurmRun(cluster, tmp_path, "Toy", options={"dependency": f"afterok:{before}", "mail_type": "END"})
    array = toy.submit()
    waits = jobs_of(toy, "%E")
    assert before in waits["array"]
    assert array in waits["finalize"]


@pytest.mark.thorough
def test_what_sbatch_refuses_is_shown_and_nothing_is_called_lost(site: BringUp, tmp_path: Path) -> None:
    toy = SlurmRun(site("no-accounting"), tmp_path, "Toy", options={"constraint": "nofeature", "cpus_per_task": 99})
    shown = toy.launcher("plan", toy.config.name, "--script")
    assert shown.returncode == 2
    assert "#SBATCH --constraint=nofeature" in shown.stdout
    assert "asks for 99 CPUs, and no node of the partition has more than" in shown.stdout
    assert "plan --script" not in shown.stderr
    refused = toy.launcher("submit", toy.config.name)
    assert (refused.returncode, "Invalid feature specification" in refused.stderr) == (2, True)
    said = toy.launcher("status", toy.run.path).stdout
    assert not [word for word in ("without a word", "reboot", "LOST") if word in said]


def test_nodes_without_memory_of_their_own_are_asked_for_none(site: BringUp, tmp_path: Path) -> None:
    toy = SlurmRun(site("no-node-memory"), tmp_path, "Toy", options={"mem": None})
    toy.submit()
    assert toy.end()["state"] == "complete"


@pytest.mark.thorough
def test_a_partition_for_gpus_alone_has_a_finalize_job_elsewhere(site: BringUp, tmp_path: Path) -> None:
    options = {"partition": "gpu", "gpus_per_task": 1, "finalize": {"partition": "main"}}
    toy = SlurmRun(site("gpu-only-partition"), tmp_path, "Toy", options=options)
    toy.submit()
    assert toy.end()["state"] == "complete"


@pytest.mark.thorough
def test_variables_of_the_users_script_reach_jobs_on_several_nodes(site: BringUp, tmp_path: Path) -> None:
    own = template(tmp_path, "#SBATCH --export=NONE --mem=300M", f"export PYTHONPATH={ROOT} MY_TOKEN=mine")
    toy = SlurmRun(
        site("no-accounting"), tmp_path, "tests.example_jobs.placed_jobs:Variables", {"names": ["MY_TOKEN", "HOME"]},
        options={"template": own, "nodes_per_task": 2, "mem": None}, rows=8, shards=2,
    )  # fmt: skip
    toy.submit()
    assert toy.end()["state"] == "complete"
    with launcher.results.open(toy.run.result) as found:
        assert set(found["values"]) == {f"mine {os.environ['HOME']}"}


def front(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A site's own command in the place of sbatch; $real is Slurm's."""
    program = folder / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/bash\nreal={shutil.which("sbatch")}\n[ "$1" = --test-only ] && exec $real "$@"\n{body}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_what_a_site_renames_and_then_calls_failed_is_submitted_once_and_stays_in_hand(
    site: BringUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = site("own-ways")
    fails = (
        '$real --comment=lab "$@" >/dev/null; echo "Your project has 7 hours left"; echo "no mail server" >&2; exit 3'
    )
    front(tmp_path, monkeypatch, fails)
    toy = SlurmRun(cluster, tmp_path, "Toy", options={"hold": True})
    array, finalize = toy.submit(), toy.submission(1).finalize_id
    queue = ("squeue", "-h", "-o", "%F %P %j")
    name = f"lab_{job_name(toy.run, 1)}"
    there = {f"{array} short {name}", f"{finalize} short {name}-finalize"}
    assert set(cluster.run(*queue).splitlines()) == there
    update(
        toy.run, toy.submission(1), job_ids=(), finalize_id=None
    )  # as a launcher leaves it that was killed just then
    assert toy.launcher("rerun", toy.run.path).returncode == 1
    assert set(cluster.run(*queue).splitlines()) == there
    assert "JobHeldUser" in toy.launcher("status", toy.run.path, "--live").stdout
    assert toy.launcher("cancel", toy.run.path).returncode == 0
    assert cluster.run(*queue) == ""


@pytest.mark.thorough
@pytest.mark.parametrize(
    "body",
    ['$real "$@" >/dev/null; echo Thank you', '(sleep 2; exec $real "$@") >/dev/null 2>&1 & echo accepted'],
    ids=["no id", "later"],
)
def test_a_job_of_which_nothing_is_told_is_found_and_completes_in_the_time_that_the_site_gives(
    site: BringUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    cluster = site("own-ways")
    front(tmp_path, monkeypatch, body)
    toy = SlurmRun(cluster, tmp_path, "Toy", options={"time": 60})
    toy.submit()
    found = toy.end()
    assert (found["state"], toy.run.submission_numbers(), toy.closed_twice()) == ("complete", [1], 0)
