"""The test cluster is a Slurm: what it must do for the tests of everything else to mean something."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.slurm_cluster import SlurmCluster, slurm_missing
from tests.support.patience import PATIENCE
from tests.support.slurm_conf import Site
from tests.support.slurm_daemons import ClusterError

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]


def submit(slurm: SlurmCluster, folder: Path, script: str, *options: str) -> str:
    """The id of a job that runs in the folder, with its log there, appended to over its attempts."""
    fixed = ("--parsable", "--open-mode=append", f"--output={folder}/%A_%a.log", f"--chdir={folder}")
    return slurm.run("sbatch", *fixed, *options, f"--wrap={script}").strip()


def log_of(folder: Path, element: str) -> str:
    return (folder / f"{element}.log").read_text()


def wait_for(slurm: SlurmCluster, job_id: str, state: str, *, timeout: float = PATIENCE) -> None:
    """Wait until the job, or every element of the array, is in the state."""
    slurm.wait(lambda: set(slurm.job_states(job_id).values()) == {state}, f"job {job_id} is {state}", timeout)


def accounted(slurm: SlurmCluster, job_id: str, *fields: str) -> list[list[str]]:
    """sacct's rows of a job: every attempt and every step, in order of time."""
    rows = slurm.run("sacct", "-n", "-P", "--duplicates", f"--jobs={job_id}", f"--format={','.join(fields)}")
    return [line.split("|") for line in rows.splitlines()]


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def other_slurm() -> Iterator[SlurmCluster]:
    """A second cluster, for what the shared one cannot be put through."""
    if missing := slurm_missing():
        pytest.skip(missing)
    with SlurmCluster(site=Site(lines=("MaxArraySize=50",))) as cluster:
        yield cluster


def test_an_array_spreads_over_the_nodes_and_its_peak_memory_is_accounted(
    clean_slurm: SlurmCluster, tmp_path: Path
) -> None:
    all_at_once = "touch $SLURM_ARRAY_TASK_ID.here; until [ $(ls *.here | wc -l) = 8 ]; do sleep 0.1; done"
    job_id = submit(clean_slurm, tmp_path, f"{all_at_once}; sleep 3", "--array=0-7", "--cpus-per-task=4")
    wait_for(clean_slurm, job_id, "COMPLETED")
    assert set(clean_slurm.job_states(job_id)) == {f"{job_id}_{index}" for index in range(8)}

    def rows() -> list[list[str]]:
        return [row for row in accounted(clean_slurm, job_id, "NodeList", "MaxRSS") if row[1]]

    clean_slurm.wait(lambda: len(rows()) == 8, "the peak memory of 8 batch steps")
    assert {node for node, _ in rows()} == {"n1", "n2", "n3", "n4"}
    assert all(re.fullmatch(r"[1-9][\d.]*[KM]", peak) for _, peak in rows()), rows()


def test_a_job_over_its_memory_is_killed_and_ends_out_of_memory(clean_slurm: SlurmCluster, tmp_path: Path) -> None:
    if not clean_slurm.memory_limits:
        pytest.skip("no cgroup v1 memory controller")
    eat = f"{sys.executable} -c 'x = bytearray(200 << 20)'; echo code $?"
    greedy = submit(clean_slurm, tmp_path, eat, "--array=0", "--mem=100M")
    modest = submit(clean_slurm, tmp_path, eat, "--array=0", "--mem=400M")
    wait_for(clean_slurm, greedy, "OUT_OF_MEMORY")
    wait_for(clean_slurm, modest, "COMPLETED")
    assert "code 137" in log_of(tmp_path, f"{greedy}_0")
    assert "code 0" in log_of(tmp_path, f"{modest}_0")


def test_an_urgent_job_requeues_one_of_main_which_then_runs_again(clean_slurm: SlurmCluster, tmp_path: Path) -> None:
    script = 'echo restarts=${SLURM_RESTART_COUNT-none}; [ "$SLURM_RESTART_COUNT" ] || sleep 60'
    preempted = submit(clean_slurm, tmp_path, script, "--array=0", "--nodelist=n1", "--exclusive")
    wait_for(clean_slurm, preempted, "RUNNING")
    urgent = submit(clean_slurm, tmp_path, "true", "--partition=urgent", "--nodelist=n1", "--exclusive")
    wait_for(clean_slurm, urgent, "COMPLETED")
    clean_slurm.wait(lambda: clean_slurm.start_now(preempted), "the preempted job can start again")
    wait_for(clean_slurm, preempted, "COMPLETED")
    assert accounted(clean_slurm, preempted, "State")[0] == ["PREEMPTED"]
    assert re.findall(r"restarts=(\S+)", log_of(tmp_path, f"{preempted}_0")) == ["none", "1"]


def test_a_dead_node_fails_or_requeues_its_jobs_and_can_return(clean_slurm: SlurmCluster, tmp_path: Path) -> None:
    script = 'echo $$ >> pid; [ "$SLURM_RESTART_COUNT" ] || sleep 300'
    requeued = submit(clean_slurm, tmp_path, script, "--nodelist=n2")
    failed = submit(clean_slurm, tmp_path, "sleep 300", "--nodelist=n2", "--no-requeue")
    wait_for(clean_slurm, failed, "RUNNING")
    clean_slurm.wait(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "it runs")
    pid = int((tmp_path / "pid").read_text())
    assert alive(pid)
    clean_slurm.kill_node("n2")
    assert not alive(pid)
    wait_for(clean_slurm, failed, "NODE_FAIL")
    wait_for(clean_slurm, requeued, "PENDING")
    clean_slurm.restart_node("n2")
    clean_slurm.start_now(requeued)
    wait_for(clean_slurm, requeued, "COMPLETED")
    assert accounted(clean_slurm, requeued, "State")[0] == ["NODE_FAIL"]


def test_a_dead_node_that_is_noticed_fails_its_jobs_at_once(clean_slurm: SlurmCluster, tmp_path: Path) -> None:
    job_id = submit(clean_slurm, tmp_path, "sleep 300", "--nodelist=n3", "--no-requeue")
    wait_for(clean_slurm, job_id, "RUNNING")
    clean_slurm.kill_node("n3", noticed=True)
    wait_for(clean_slurm, job_id, "NODE_FAIL", timeout=30)  # SlurmdTimeout would take longer
    clean_slurm.restart_node("n3")
    after = submit(clean_slurm, tmp_path, "true", "--nodelist=n3")
    wait_for(clean_slurm, after, "COMPLETED")


def test_submission_over_the_users_limit_is_refused(clean_slurm: SlurmCluster, tmp_path: Path) -> None:
    clean_slurm.set_user_limit(max_submit_jobs=5)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        submit(clean_slurm, tmp_path, "true", "--array=0-5")
    assert "AssocMaxSubmitJobLimit" in refused.value.stderr
    assert "Job violates accounting/QOS policy" in refused.value.stderr
    submit(clean_slurm, tmp_path, "true", "--array=0-4")
    clean_slurm.set_user_limit(max_submit_jobs=-1)
    submit(clean_slurm, tmp_path, "true", "--array=0-9")


def test_a_job_sees_only_the_gpus_it_was_given(clean_slurm: SlurmCluster, tmp_path: Path) -> None:
    script = "touch $SLURM_ARRAY_TASK_ID.here; until [ -e 0.here ] && [ -e 1.here ]; do sleep 0.1; done"
    show = "echo visible=${CUDA_VISIBLE_DEVICES-none}"
    halves = submit(clean_slurm, tmp_path, f"{show}; {script}", "--array=0-1", "--gres=gpu:1", "--nodelist=n4")
    whole = submit(clean_slurm, tmp_path, show, "--array=0", "--gres=gpu:2")
    wait_for(clean_slurm, halves, "COMPLETED")
    wait_for(clean_slurm, whole, "COMPLETED")
    seen = {log_of(tmp_path, f"{halves}_{index}").strip() for index in range(2)}
    assert seen == {"visible=0", "visible=1"}
    assert log_of(tmp_path, f"{whole}_0").strip() == "visible=0,1"


def test_calls_are_counted_by_type_and_by_user(clean_slurm: SlurmCluster) -> None:
    clean_slurm.run("sdiag", "--reset")
    for _ in range(3):
        clean_slurm.run("squeue")
    calls = clean_slurm.sdiag()
    assert calls["by_type"]["REQUEST_JOB_INFO"] == 3
    assert calls["by_user"]["root"] >= 3


def test_jobs_outlive_a_restart_of_the_controller_and_of_accounting(clean_slurm: SlurmCluster, tmp_path: Path) -> None:
    job_id = submit(clean_slurm, tmp_path, "until [ -e go ]; do sleep 0.1; done", "--array=0-1")
    wait_for(clean_slurm, job_id, "RUNNING")
    clean_slurm.services.stop_accounting()
    try:
        with pytest.raises(subprocess.CalledProcessError) as refused:
            clean_slurm.run("sacct")
        assert "Connection refused" in refused.value.stderr
        assert set(clean_slurm.job_states(job_id).values()) == {"RUNNING"}
    finally:
        clean_slurm.services.start_accounting()
    clean_slurm.stop_controller()
    clean_slurm.start_controller()
    (tmp_path / "go").touch()
    wait_for(clean_slurm, job_id, "COMPLETED")


def test_a_wait_in_vain_quotes_the_log(clean_slurm: SlurmCluster) -> None:
    with pytest.raises(ClusterError, match=r"not within 0 s: a miracle\n.*slurmctld\.log ends:\n.*slurmctld: "):
        clean_slurm.wait(lambda: False, "a miracle", 0)


def test_a_folder_in_use_is_refused_and_left_as_it_is(slurm: SlurmCluster) -> None:
    # Not tmp_path: pytest's may be too long for the cluster's sockets, which is refused first.
    folder = Path(tempfile.mkdtemp(prefix="in-use-"))
    (folder / "thesis").touch()
    with pytest.raises(ClusterError, match="not an empty folder"):
        SlurmCluster(folder).start()
    SlurmCluster(folder).stop()
    assert (folder / "thesis").exists()
    shutil.rmtree(folder)
    with pytest.raises(ClusterError, match="a cluster is here already"):
        SlurmCluster(slurm.directory).start()
    assert "n[1-4]" in slurm.run("sinfo")


def test_a_start_that_fails_says_why_and_leaves_nothing(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = int(re.findall(r"SlurmctldPort=(\d+)", slurm.conf.read_text())[0])
    monkeypatch.setattr("tests.slurm_cluster.free_ports", lambda count: list(range(taken, taken + count)))
    late = SlurmCluster()
    with pytest.raises(ClusterError, match=r"slurmdbd has ended before(.|\n)*Address already in use"):
        late.start()
    assert late.processes() == []
    assert not late.directory.exists()


def test_two_clusters_run_side_by_side_and_stop_leaves_no_process(
    slurm: SlurmCluster, other_slurm: SlurmCluster, tmp_path: Path
) -> None:
    assert re.search(r"^MaxArraySize +=? *50$", other_slurm.run("scontrol", "show", "config"), re.MULTILINE)
    assert re.search(r"^MaxArraySize +=? *1001$", slurm.run("scontrol", "show", "config"), re.MULTILINE)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        submit(other_slurm, tmp_path, "true", "--array=50")
    assert "Invalid job array specification" in refused.value.stderr
    job_id = submit(other_slurm, tmp_path, "trap '' TERM; setsid sleep 300 & wait")
    wait_for(other_slurm, job_id, "RUNNING")
    other_slurm.wait(lambda: "sleep" in {process.name() for process in other_slurm.processes()}, "it sleeps")
    processes = other_slurm.processes()
    names = {process.name() for process in processes}
    assert names >= {"munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmstepd", "sleep"}
    other_slurm.stop()
    assert [process for process in processes if alive(process.pid)] == []
    assert other_slurm.processes() == []
    assert not other_slurm.directory.exists()
    assert slurm.run("sinfo", "-h", "-p", "main", "-o", "%D").split() == ["4"]
