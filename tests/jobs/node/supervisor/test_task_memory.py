"""The memory of an array task is that of all it has started; and what becomes of it when the kernel kills one of them."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jobs.machine import kernel_kills
from jobs.machine.kernel_kills import KernelKills
from tests.support.launcher_runs import environment, wait_until
from tests.support.memory_cgroup import MemoryCgroup, memory_cgroup
from tests.support.task_runs import attempts, command, commits, failures, is_done, last_end, make_run, run_task

GREEDY = "tests.example_jobs.greedy_jobs:"
HEAVY = "tests.example_jobs.heavy_jobs:Heavy"
MB = 1 << 20


def heavy(megabytes: int) -> dict[str, str]:
    return {**environment(), "TEST_HEAVY_MEGABYTES": str(megabytes)}


@pytest.fixture
def cgroup() -> Iterator[MemoryCgroup]:
    """Of 400 MB."""
    with memory_cgroup(400) as made:
        yield made


def test_programs_that_do_not_fit_side_by_side_are_done_one_after_another(tmp_path: Path) -> None:
    params = {"load": {str(row): 300 for row in range(3)}, "seconds": 2.5, "together": str(tmp_path / "together")}
    run = make_run(tmp_path / "run", GREEDY + "Starter", 3, batch_size=1, params=params, workers=2, memory=450 * MB)
    done = run_task(run)
    assert done.returncode == 0, done.stdout
    assert "memory ran out" in done.stdout
    end = last_end(run)
    assert (end.ok, end.kind) == (3, None)
    assert end.peak_memory > 300 * MB


def test_a_sample_that_needs_more_memory_and_may_not_fail_ends_its_shard_as_out_of_memory(tmp_path: Path) -> None:
    params = {"process": {"5": 600}}
    run = make_run(tmp_path, GREEDY + "Swollen", 16, shards=2, batch_size=4, params=params, workers=1, memory=400 * MB)
    done = run_task(run)
    assert done.returncode == 1, done.stdout
    end = last_end(run)
    assert [(one.shard, one.kind) for one in end.given_up] == [(0, "OUT_OF_MEMORY")]
    assert "sample 5 alone needs more memory than the task has" in end.given_up[0].message
    assert is_done(run, 1)


def test_a_request_that_no_cgroup_enforces_is_kept_by_the_task_itself(tmp_path: Path) -> None:
    run = make_run(tmp_path, GREEDY + "Swollen", 4, batch_size=4, params={"process": {"2": 600}}, workers=1)
    done = run_task(run, env={**environment(), "SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_ON_NODE": "4"})
    assert done.returncode == 1
    assert "the task may use 360 MiB" in done.stdout
    assert [one.kind for one in last_end(run).given_up] == ["OUT_OF_MEMORY"]


def test_memory_and_time_of_what_a_job_starts_are_told(tmp_path: Path) -> None:
    # Long enough with all of it for a reading, however slowly it came to have it.
    busy = (
        "import time\nblock = b'1' * (400 << 20)\ncpu, wall = time.process_time(), time.monotonic()\n"
        "while time.process_time() - cpu < 0.7 or time.monotonic() - wall < 1.2: pass"
    )
    params = {"command": ["setsid", "--wait", "env", "-i", sys.executable, "-c", busy]}
    run = make_run(tmp_path, "jobs.command:Command", 2, batch_size=1, params=params, workers=1)
    assert run_task(run).returncode == 0
    end = last_end(run)
    assert end.peak_memory > 400 * MB
    assert end.cpu_seconds > 1.4


def test_what_the_module_of_the_job_holds_is_a_part_of_the_peak(tmp_path: Path) -> None:
    run = make_run(tmp_path, HEAVY, 8, workers=1)
    assert run_task(run, env=heavy(300)).returncode == 0
    assert 300 * MB < last_end(run).peak_memory < 600 * MB


def test_a_module_that_takes_more_than_the_task_may_use_ends_the_attempt_as_out_of_memory(tmp_path: Path) -> None:
    run = make_run(tmp_path, HEAVY, 8, workers=1, memory=200 * MB)
    assert run_task(run, env=heavy(300)).returncode == 1
    end = last_end(run)
    assert end.kind == "OUT_OF_MEMORY"
    assert re.fullmatch(r"importing what the Job needs takes \d+ MiB, of 200 MiB that the task may use", end.message)


def test_a_module_that_the_kernel_kills_for_its_memory_is_out_of_memory_at_once(
    tmp_path: Path, cgroup: MemoryCgroup
) -> None:
    run = make_run(tmp_path, HEAVY, 8, workers=1, memory=8 << 30)
    done = run_task(run, preexec_fn=cgroup.enter, env=heavy(900))
    end = last_end(run)
    assert (done.returncode, end.kind) == (1, "OUT_OF_MEMORY")
    assert end.message.startswith("importing what the Job needs took more memory than the task has")


@pytest.mark.parametrize("where", ["load", "process"])
def test_a_program_that_the_kernel_kills_for_its_memory_fails_its_sample_as_out_of_memory(
    tmp_path: Path, cgroup: MemoryCgroup, where: str
) -> None:
    params = {where: {"5": 900}}
    run = make_run(
        tmp_path, GREEDY + "Starter", 8, batch_size=4, params=params, workers=2, memory=8 << 30, max_failed_samples=1
    )
    done = run_task(run, preexec_fn=cgroup.enter)
    assert done.returncode == 0, done.stdout
    assert {row: sample.kind for row, sample in failures(run).items()} == {5: "OUT_OF_MEMORY"}


def test_programs_that_the_kernel_kills_because_they_are_together_fail_no_sample(
    tmp_path: Path, cgroup: MemoryCgroup
) -> None:
    params = {"load": {str(row): 250 for row in range(3)}, "seconds": 1.0}
    run = make_run(tmp_path, GREEDY + "Starter", 3, batch_size=1, params=params, workers=2, memory=8 << 30)
    done = run_task(run, preexec_fn=cgroup.enter)
    assert done.returncode == 0, done.stdout
    assert failures(run) == {}


def test_kill_minus_9_after_the_kernels_kill_of_somebody_else_is_no_lack_of_memory(tmp_path: Path) -> None:
    with memory_cgroup() as parent:
        own = parent.below()
        run = make_run(tmp_path, "Toy", 400, batch_size=4, params={"delay": 0.1}, workers=1, sync_interval=0.1)
        with subprocess.Popen(command(run), preexec_fn=own.enter, stdout=subprocess.PIPE, text=True) as task:
            wait_until(lambda: attempts(run) and attempts(run)[0].beat.done)
            parent.limit(1000)
            parent.kill_one(600)
            _worker(task.pid).kill()
            assert task.stdout
            said = ""
            while "died of signal 9" not in said:
                said = task.stdout.readline()
                assert said
            before = len(commits(run))
            wait_until(lambda: len(commits(run)) > before + 1)
            task.terminate()
            assert "memory ran out" not in task.stdout.read()
        assert {commit.split for commit in commits(run).values()} == {False}


def _worker(task: int) -> psutil.Process:
    """A pool worker: the last child that was started."""
    leaves = [child for child in psutil.Process(task).children(recursive=True) if not child.children()]
    return max(leaves, key=lambda child: (child.create_time(), child.pid))


def test_the_kernels_kills_explain_as_many_deaths_and_only_for_a_while(
    cgroup: MemoryCgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.machine.kernel_kills.cgroup_files", lambda v1, v2: [cgroup.folder / v1])
    kills = KernelKills()
    assert not kills.explain()
    cgroup.kill_one(400)
    assert [kills.explain(), kills.explain()] == [True, False]
    cgroup.kill_one(400)
    monkeypatch.setattr("jobs.machine.kernel_kills._DYING_SECONDS", 0.0)
    assert kills.look() == 1
    assert kills.look() == 0


def test_who_ticks_knows_that_a_kill_was_long_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = tmp_path / "memory.events"
    counts.write_text("oom_kill 3\n")
    monkeypatch.setattr(kernel_kills, "cgroup_files", lambda v1, v2: [counts])
    kills = KernelKills()
    counts.write_text("oom_kill 4\n")
    kills.tick()  # too soon after the last look: it costs one file read a second at most
    monkeypatch.setattr(kernel_kills, "_BETWEEN_LOOKS", 0.0)
    kills.tick()
    monkeypatch.setattr(kernel_kills, "_DYING_SECONDS", 0.0)
    kills.tick()
    assert not kills.explain()
