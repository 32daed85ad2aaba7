"""Handing a run over to a real Slurm that answers late, twice or not at all, by launchers that are killed on the way.

Whatever happens, each array is submitted once, each row is done once, and the run goes on to its result.
"""

import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import InputError
from launcher.slurm import sbatch
from launcher.slurm.scripts import job_name
from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import ROOT, kill, newest, start, wait_until
from tests.support.patience import PATIENCE
from tests.support.slurm_runs import ROWS, SHARDS, SlurmRun, result_data, undisturbed_data, use_cluster
from tests.support.task_runs import runs

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("handover")]

ALL_OK = {"total": ROWS, "ok": ROWS, "failed": 0, "missing": 0}
REAL = shutil.which("sbatch")
ONCE = 'once() { mkdir "$0.$1" 2>/dev/null; }\n'


@pytest.fixture
def slurm_here(clean_slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    use_cluster(clean_slurm, monkeypatch)
    return clean_slurm


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str, name: str = "sbatch") -> None:
    """An sbatch that comes first on PATH, here and in the jobs that inherit it; ``once NAME`` is true the first time."""
    program = folder / "bin" / name
    real = shutil.which(name)
    program.parent.mkdir(exist_ok=True)
    really = f'exec {real} "$@"'
    program.write_text(f'#!/bin/bash\n[ "$1" = --test-only ] && {really}\n{ONCE}{body}\n{really}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def toy_run(slurm: SlurmCluster, folder: Path, **sections: Any) -> SlurmRun:
    return SlurmRun(slurm, folder, "Toy", node={"workers": 0, "processes": 1}, **sections)


def jobs_of(toy: SlurmRun) -> list[str]:
    """Names, without their common beginning, of all Slurm jobs that the run ever had; a name for each job."""
    prefix = job_name(toy.run, 0).removesuffix("0")
    rows = toy.slurm.run("squeue", "-h", "-t", "all", "-o", "%F %j").splitlines()
    found = {(job_id, name.removeprefix(prefix)) for job_id, name in map(str.split, rows) if name.startswith(prefix)}
    return sorted(name for _, name in found)


def assert_all_ran_once(toy: SlurmRun) -> None:
    assert toy.status()["samples"] == ALL_OK
    assert toy.closed_twice() == 0
    assert all(
        len(toy.attempts(index, number)) <= 1 for number in toy.run.submission_numbers() for index in range(SHARDS)
    )
    assert result_data(toy.run) == undisturbed_data()


# --- Slurm answers late or not at all


@pytest.mark.parametrize(
    "message",
    [
        "Unable to contact slurm controller (connect failure)",
        pytest.param("Socket timed out on send/recv", marks=pytest.mark.thorough),
    ],
)
def test_an_sbatch_that_fails_for_a_while_is_tried_again(
    slurm_here: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    fail = f'echo "sbatch: error: Batch job submission failed: {message}" >&2; exit 1'
    stand_in(tmp_path, monkeypatch, f"once first && {{ {fail}; }}\nonce second && {{ {fail}; }}")
    toy = toy_run(slurm_here, tmp_path)
    done = toy.launcher("submit", toy.config.name)
    assert done.returncode == 0, done.stderr
    assert f"sbatch: Batch job submission failed: {message}; trying again in 2 s" in done.stderr
    assert toy.end()["state"] == "complete"
    assert_all_ran_once(toy)
    assert jobs_of(toy) == ["1", "1-finalize"]


def test_a_submission_that_arrived_although_sbatch_timed_out_is_found_by_its_name(
    slurm_here: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = f'{REAL} "$@" >/dev/null; echo "sbatch: error: Batch job submission failed: Socket timed out" >&2; exit 1'
    stand_in(tmp_path, monkeypatch, f'case "$*" in *finalize*) once finalize ;; *) once array ;; esac && {{ {late}; }}')
    toy = toy_run(slurm_here, tmp_path)
    toy.submit()
    assert toy.end()["state"] == "complete"
    assert_all_ran_once(toy)
    assert jobs_of(toy) == ["1", "1-finalize"]


@pytest.mark.thorough
def test_a_submission_that_arrives_later_than_the_next_try_is_cancelled(
    slurm_here: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail = 'echo "sbatch: error: Batch job submission failed: Socket timed out" >&2; exit 1'
    stand_in(tmp_path, monkeypatch, f'once first && {{ {fail}; }}\nonce second && {REAL} "$@" >/dev/null')
    toy = toy_run(slurm_here, tmp_path, options={"hold": True})
    first = toy.submit()
    assert [name for name in toy.queued() if name.endswith(".1")] == [job_name(toy.run, 1)]
    slurm_here.run("scontrol", "release", first)
    assert toy.end()["state"] == "complete"
    assert_all_ran_once(toy)


def test_what_slurm_has_refused_can_be_submitted_with_less(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    """Slurm keeps a refused job for a while, under its name; what follows it is another job."""
    script = tmp_path / "x.sbatch"
    begin = "#!/bin/bash\n#SBATCH --job-name=refused --output=/dev/null"
    script.write_text(f"{begin} --exclude={slurm_here.run('sinfo', '-h', '-o', '%N').strip()}\n")
    with pytest.raises(InputError, match="node configuration is not available"):
        sbatch.submit(script, "refused", is_new=False)
    assert "refused" in slurm_here.run("squeue", "-h", "-t", "FAILED", "-o", "%j").split()
    script.write_text(f"{begin} --hold\n")  # to be there for a while
    job = sbatch.submit(script, "refused", is_new=False)
    assert slurm_here.run("squeue", "-h", "-j", job.number, "-o", "%T").strip() == "PENDING"
    assert sbatch.submit(script, "refused", is_new=False) == job


def test_a_controller_that_is_down_is_waited_for(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = toy_run(slurm_here, tmp_path)
    slurm_here.stop_controller()
    process = start(tmp_path, "submit", toy.config.name)
    try:
        said = next(line for line in process.stdout or () if "trying again" in line)
    finally:
        slurm_here.start_controller()
    rest = process.communicate(timeout=PATIENCE)[0]
    assert "Unable to contact slurm controller" in said
    assert process.returncode == 0, rest
    assert toy.end()["state"] == "complete"
    assert_all_ran_once(toy)


@pytest.mark.thorough
def test_a_run_survives_a_restart_of_the_controller(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun(slurm_here, tmp_path, "Toy", {"delay": 0.2}, node={"workers": 0, "processes": 1})
    toy.submit()
    toy.await_commits(0)
    slurm_here.stop_controller()
    slurm_here.start_controller()
    assert toy.end()["state"] == "complete"
    assert_all_ran_once(toy)
    assert jobs_of(toy) == ["1", "1-finalize"]


# --- the launcher is killed


KILL = "kill -KILL $PPID; until ! kill -0 $PPID 2>/dev/null; do sleep 0.02; done"
KILLED = {
    "before the array": f'case "$*" in *finalize*) ;; *) once killed && {{ {KILL}; exit 1; }} ;; esac',
    "after the array": f'case "$*" in *finalize*) ;; *) once killed && {{ {REAL} "$@"; {KILL}; exit 0; }} ;; esac',
    "before the finalize job": f'case "$*" in *finalize*) once killed && {{ {KILL}; exit 1; }} ;; esac',
    "after the finalize job": f'case "$*" in *finalize*) once killed && {{ {REAL} "$@"; {KILL}; exit 0; }} ;; esac',
}


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("before the array", marks=pytest.mark.thorough),
        "after the array",
        pytest.param("before the finalize job", marks=pytest.mark.thorough),
        pytest.param("after the finalize job", marks=pytest.mark.thorough),
    ],
)
def test_a_launcher_killed_while_it_submits_has_nothing_submitted_twice(
    slurm_here: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    stand_in(tmp_path, monkeypatch, KILLED[moment])
    toy = toy_run(slurm_here, tmp_path, options={"hold": True})
    assert toy.launcher("submit", toy.config.name).returncode == -signal.SIGKILL
    assert newest(toy.run).finalize_id is None
    again = toy.launcher("submit", toy.config.name)
    was_there = moment != "before the array"
    assert again.returncode == (1 if was_there else 0), again.stderr
    assert ("waits or runs already" in again.stderr) == was_there
    array = newest(toy.run).job_ids
    assert (len(array), newest(toy.run).number) == (1, 1 if was_there else 2)
    slurm_here.run("scontrol", "release", *array)
    assert toy.end()["state"] == "complete"
    assert_all_ran_once(toy)
    number = newest(toy.run).number
    assert jobs_of(toy) == [f"{number}", f"{number}-finalize"]


@pytest.mark.thorough
def test_the_sbatch_of_a_killed_launcher_does_not_submit_later(
    slurm_here: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "once first && { echo $$ > $0.pid; sleep 2; }")
    toy = toy_run(slurm_here, tmp_path, options={"hold": True})
    process = start(tmp_path, "submit", toy.config.name)
    pid = tmp_path / "bin" / "sbatch.pid"
    wait_until(lambda: pid.exists() and pid.read_text().strip())
    kill(process)
    wait_until(lambda: not runs(int(pid.read_text())))
    toy.submit()
    assert jobs_of(toy) == ["2", "2-finalize"]


@pytest.mark.thorough
def test_what_a_living_launcher_submits_is_left_to_it(
    slurm_here: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "once array && { touch $0.here; until [ -e $0.go ]; do sleep 0.05; done; }")
    toy = toy_run(slurm_here, tmp_path)
    process = start(tmp_path, "submit", toy.config.name)
    wait_until((tmp_path / "bin" / "sbatch.here").exists)
    other = toy.launcher("submit", toy.config.name)
    assert (other.returncode, "waits or runs already" in other.stderr) == (1, True)
    assert toy.run.submission_numbers() == [1]
    (tmp_path / "bin" / "sbatch.go").touch()
    assert process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0
    assert toy.end()["state"] == "complete"
    assert_all_ran_once(toy)
    assert jobs_of(toy) == ["1", "1-finalize"]


def test_a_finalize_job_that_somebody_cancelled_is_submitted_again(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    toy = toy_run(slurm_here, tmp_path, options={"hold": True})
    array = toy.submit()
    slurm_here.run("scancel", str(toy.submission(1).finalize_id))
    assert toy.launcher("submit", toy.run.path).returncode == 1  # nothing to submit: the array waits
    assert toy.submission(1).finalize_id in slurm_here.run("squeue", "-h", "-o", "%F").split()
    slurm_here.run("scontrol", "release", array)
    assert toy.end()["state"] == "complete"
    assert_all_ran_once(toy)


@pytest.mark.thorough
def test_a_run_whose_jobs_were_all_cancelled_by_hand_can_be_submitted_again(
    slurm_here: SlurmCluster, tmp_path: Path
) -> None:
    toy = toy_run(slurm_here, tmp_path, options={"hold": True})
    array = toy.submit()
    slurm_here.run("scancel", array, str(toy.submission(1).finalize_id))
    wait_until(lambda: toy.queued() == [])
    again = toy.launcher("submit", toy.run.path, "--set", "slurm.hold=false")
    assert again.returncode == 0, again.stderr
    assert toy.end()["state"] == "complete"
    assert_all_ran_once(toy)


# --- from inside a job; without accounting


def test_array_tasks_get_nothing_of_the_job_that_submitted_them(slurm_here: SlurmCluster, tmp_path: Path) -> None:
    inside = environment_of_tasks(slurm_here, tmp_path / "inside", ["--gres=gpu:2", "--cpus-per-task=3", "--mem=1G"])
    outside = environment_of_tasks(slurm_here, tmp_path / "outside", None)
    assert inside.keys() - {"SLURM_CONF"} == outside.keys() - {"SLURM_CONF"}
    for name in (
        "SLURM_CPUS_PER_TASK",
        "SLURM_MEM_PER_NODE",
        "SLURM_JOB_NUM_NODES",
        "SLURM_NTASKS",
        "SLURM_ARRAY_TASK_MAX",
    ):
        assert inside[name] == outside[name]
    assert "CUDA_VISIBLE_DEVICES" not in inside


def environment_of_tasks(slurm: SlurmCluster, folder: Path, job: Sequence[str] | None) -> dict[str, str]:
    """Slurm's and CUDA's variables in an array task of a run that was submitted inside a job, or here (None)."""
    folder.mkdir()
    (folder / "site.sbatch").write_text("#!/bin/bash\nenv -0 > $SLURM_ARRAY_TASK_ID.env\n# launcher: command\n")
    toy = toy_run(slurm, folder, options={"template": "./site.sbatch"})
    if job is None:
        toy.submit()
    else:
        command = f"PYTHONPATH={ROOT} exec {sys.executable} -P -m launcher submit {toy.config.name}"
        slurm.run("sbatch", "--wait", *job, f"--chdir={folder}", f"--output={folder}/outer.log", f"--wrap={command}")
    assert toy.end()["state"] == "complete"
    pairs = (line.partition("=") for line in (folder / "0.env").read_text().split("\0"))
    return {name: value for name, _, value in pairs if name.startswith(("SLURM_", "CUDA_", "SBATCH_", "GPU_", "ROCR_"))}


@pytest.fixture
def without_accounting(slurm_here: SlurmCluster) -> Iterator[SlurmCluster]:
    slurm_here.services.stop_accounting()
    yield slurm_here
    slurm_here.services.start_accounting()


def test_a_run_completes_while_the_accounting_is_down_all_the_time(
    without_accounting: SlurmCluster, tmp_path: Path
) -> None:
    toy = toy_run(without_accounting, tmp_path)
    toy.submit()
    assert toy.end()["state"] == "complete"
    assert_all_ran_once(toy)


@pytest.mark.thorough
def test_what_the_accounting_would_know_is_told_by_the_controller_while_it_is_down(
    without_accounting: SlurmCluster, tmp_path: Path
) -> None:
    toy = SlurmRun(
        without_accounting, tmp_path, "Toy", {"delay": 0.3}, options={"tasks": 1}, node={"workers": 0, "processes": 1},
        retry={"attempts": 1},
    )  # fmt: skip
    toy.submit()
    toy.await_commits(0)
    toy.supervisor(0).kill()
    found = toy.end()
    (failure,) = found["failures"]
    assert (found["state"], failure["kind"], failure["shards"]) == ("failed", "CRASH", [0, 1, 2])
    assert "signal 9" in failure["message"]
    toy.rerun()
    assert toy.end()["state"] == "complete"
    assert result_data(toy.run) == undisturbed_data()
