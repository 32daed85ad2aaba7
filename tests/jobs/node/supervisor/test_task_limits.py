"""Array tasks at their limits: memory that is short, time that is up."""

import contextlib
import errno
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from jobs.kinds import SampleFailureKind
from jobs.machine.kernel_kills import KernelKills
from jobs.node.worker.loading import broken, failed_sample
from jobs.storage.submission import Submission
from tests.support.launcher_runs import wait_until
from tests.support.patience import PATIENCE
from tests.support.task_runs import (
    attempts,
    command,
    commits,
    content,
    failures,
    is_done,
    last_end,
    make_run,
    results,
    run_task,
    written,
)


def test_samples_that_fit_into_memory_but_not_together_are_done_in_parts(tmp_path: Path) -> None:
    reference = make_run(tmp_path / "reference", "Toy", 16, batch_size=8)
    # A worker may take 500 MB: eight samples of 80 MB are too much, four are not.
    params, settings = {"megabytes": 80}, {"workers": 1, "memory": 500 << 20}
    bulky = make_run(
        tmp_path / "bulky", "tests.example_jobs.greedy_jobs:Bulky", 16, batch_size=8, params=params, **settings
    )
    assert run_task(reference).returncode == run_task(bulky).returncode == 0
    assert content(bulky) == content(reference)
    assert {commit.split for commit in commits(bulky).values()} == {True}


def test_a_sample_that_does_not_fit_into_memory_alone_fails_alone(tmp_path: Path) -> None:
    settings = {"workers": 1, "memory": 500 << 20, "max_failed_samples": 8}
    bulky = make_run(
        tmp_path, "tests.example_jobs.greedy_jobs:Bulky", 8, batch_size=8, params={"megabytes": 600}, **settings
    )
    assert run_task(bulky).returncode == 0
    assert {sample.kind for sample in failures(bulky).values()} == {"OUT_OF_MEMORY"}


def test_how_many_samples_fit_into_memory_is_found_in_few_setups_and_kept(tmp_path: Path) -> None:
    setups = tmp_path / "setups"
    params = {"setups": str(setups), "most": 4}
    job = "tests.example_jobs.greedy_jobs:Crowded"
    run = make_run(tmp_path / "run", job, 64, shards=2, batch_size=16, params=params, workers=1, memory=500 << 20)
    assert run_task(run).returncode == 0
    assert failures(run) == {}
    assert setups.stat().st_size == 5  # all of a batch, with all else idle, by 8, by 4, and the crew that goes on by 4


def test_the_sample_that_does_not_fit_is_found_by_halves(tmp_path: Path) -> None:
    setups = tmp_path / "setups"
    params = {"setups": str(setups), "most": 99, "large": 5}
    settings = {"workers": 1, "memory": 500 << 20, "max_failed_samples": 1}
    job = "tests.example_jobs.greedy_jobs:Crowded"
    run = make_run(tmp_path / "run", job, 16, batch_size=8, params=params, **settings)
    assert run_task(run).returncode == 0
    assert {row: sample.kind for row, sample in failures(run).items()} == {5: "OUT_OF_MEMORY"}
    # All of a batch, with all else idle, by 4, by 2, one by one, that one alone, the others, the crew that goes on.
    assert setups.stat().st_size <= 8


def test_arrow_takes_no_more_of_a_pool_workers_memory_than_it_needs(tmp_path: Path) -> None:
    run = make_run(
        tmp_path, "tests.example_jobs.greedy_jobs:Tabular", 8, params={"megabytes": 700}, workers=1, memory=3 << 29
    )
    assert run_task(run).returncode == 0


def test_a_pool_worker_whose_setup_does_not_fit_into_memory_ends_the_attempt_as_out_of_memory(tmp_path: Path) -> None:
    settings = {"workers": 1, "memory": 500 << 20}
    run = make_run(tmp_path, "tests.example_jobs.greedy_jobs:Hungry", 8, params={"setup_worker": 600}, **settings)
    assert run_task(run).returncode == 1
    end = last_end(run)
    assert end.kind == "OUT_OF_MEMORY"
    assert end.message.startswith("setup_worker: ")


def test_the_kernel_kills_children_before_the_supervisor(tmp_path: Path) -> None:
    run = make_run(tmp_path, "tests.example_jobs.greedy_jobs:Scores", 8, workers=1)
    assert run_task(run).returncode == 0
    mine = int(Path("/proc/self/oom_score_adj").read_text())
    found = results(run)
    assert found.keys() == {"worker", "process"}
    for rows in found.values():
        assert set(rows.tolist()) == {min(1000, mine + 200)}


@pytest.mark.parametrize(
    ("error", "sample_kind", "setup_kind"),
    [
        (MemoryError(), "OUT_OF_MEMORY", "OUT_OF_MEMORY"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "OUT_OF_MEMORY", "OUT_OF_MEMORY"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "OUT_OF_MEMORY", "OUT_OF_MEMORY"),
        (ImportError("x.so: failed to map segment: Cannot allocate memory"), "OUT_OF_MEMORY", "OUT_OF_MEMORY"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), "OUT_OF_MEMORY", "ERROR"),
        (ValueError("too much memory"), "LOAD", "ERROR"),
    ],
)
def test_lack_of_memory_is_told_from_other_errors(error: Exception, sample_kind: str, setup_kind: str) -> None:
    # More of the host's memory would not help a setup that fails on a device.
    assert failed_sample(0, SampleFailureKind.LOAD, error).kind == sample_kind
    assert broken("setup", error, KernelKills()).kind == setup_kind


def test_a_time_limit_finds_no_fault_with_the_second_shard_of_a_task_that_did_the_first(tmp_path: Path) -> None:
    run = make_run(tmp_path, "Toy", 32, shards=2, params={"bad": {"16": "sleep"}}, workers=0, sync_interval=0.1)
    with subprocess.Popen(command(run)) as task:
        wait_until(lambda: is_done(run, 0))
        task.send_signal(signal.SIGUSR2)
        assert task.wait(PATIENCE) == 75
    assert last_end(run).end == "stopped"


def has_started(pid: int, word: str) -> bool:
    """Whether a program with that word in its arguments runs below a process."""
    with contextlib.suppress(psutil.Error):  # it has just ended
        return any(word in " ".join(child.cmdline()) for child in psutil.Process(pid).children(recursive=True))
    return False


@pytest.mark.parametrize(("grace", "seconds", "batches"), [(5, 600, 0), (20, 4, 1)])
def test_a_batch_at_hand_has_as_long_as_the_grace_allows(
    tmp_path: Path, grace: int, seconds: int, batches: int
) -> None:
    params = {"process": {"0": 1}, "seconds": seconds}
    run = make_run(tmp_path, "tests.example_jobs.greedy_jobs:Starter", 1, params=params, workers=1)
    submission = Submission.read(run.submission(1))
    replace(submission, resources=replace(submission.resources, grace=grace)).write(run.submission(1))
    with subprocess.Popen(command(run)) as task:
        wait_until(lambda: has_started(task.pid, "block"))
        task.send_signal(signal.SIGTERM)
        assert task.wait(PATIENCE) == 75
    assert written(run) == batches


def test_a_warning_while_python_starts_ends_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path, "Toy", 16, workers=0)
    script = ["bash", "-c", 'trap "" USR2; exec "$@"', "bash", *command(run)]
    with subprocess.Popen(script) as task:
        wait_until(lambda: b"jobs" in Path(f"/proc/{task.pid}/cmdline").read_bytes().split(b"\0")[:6])
        task.send_signal(signal.SIGUSR2)
        assert task.wait(PATIENCE) in (0, 1, 75)  # it may have listened already


def test_a_warning_that_the_script_has_noted_is_heeded(tmp_path: Path) -> None:
    run = make_run(tmp_path, "Toy", 16, workers=0)
    done = run_task(run, env={**os.environ, "LAUNCHER_WARNED": "1"})
    assert done.returncode == 1
    assert (last_end(run).kind, written(run)) == ("TIMEOUT", 0)


def test_a_time_limit_without_any_batch_done_is_a_failure(tmp_path: Path) -> None:
    run = make_run(tmp_path, "Toy", 16, params={"bad": {"0": "sleep"}}, workers=0, sync_interval=0.1)
    with subprocess.Popen(command(run)) as task:
        wait_until(lambda: attempts(run)[0].beat.claims if attempts(run) else ())
        task.send_signal(signal.SIGUSR2)
        assert task.wait(PATIENCE) == 1
    end = last_end(run)
    assert (end.end, end.kind) == ("failed", "TIMEOUT")
