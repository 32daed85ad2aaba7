"""Array tasks: real supervisors, processes and pool workers, and everything that samples and signals can do to them."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from jobs.node.supervisor.dealer import KILLS
from jobs.storage.journal import Journal
from jobs.storage.rundir import RunDir
from tests.support.launcher_runs import wait_until
from tests.support.task_runs import (
    alive,
    command,
    content,
    failures,
    history,
    last_end,
    layout_of,
    make_run,
    run_task,
    write_submission,
)


@pytest.mark.parametrize(("processes", "workers"), [(1, 0), (1, 1), (2, 2), (3, 0)])
def test_the_bytes_do_not_depend_on_processes_and_workers(tmp_path: Path, processes: int, workers: int) -> None:
    reference = make_run(tmp_path / "reference", "Random", 500, workers=2)
    other = make_run(tmp_path / "other", "Random", 500, workers=workers, processes=processes)
    assert run_task(reference).returncode == run_task(other).returncode == 0
    assert content(reference) == content(other)


@pytest.mark.parametrize("workers", [0, 2])
def test_kills_that_meet_at_one_batch_change_no_bytes(tmp_path: Path, workers: int) -> None:
    reference = make_run(tmp_path / "reference", "Random", 200)
    params = {"tally": str(tmp_path / "tally"), "times": KILLS - 1}
    run = make_run(tmp_path / "run", "Struck", 200, params=params, workers=workers)
    assert run_task(reference).returncode == run_task(run).returncode == 0
    assert (tmp_path / "tally").stat().st_size == 2 * (KILLS - 1)
    assert content(run) == content(reference)


@pytest.mark.parametrize(("workers", "wait"), [(0, 0), (2, 0), (0, 0.03), (2, 0.03)])
def test_each_bad_sample_fails_alone_with_its_kind(tmp_path: Path, workers: int, wait: float) -> None:
    bad = {"3": "raise", "21": "exit", "40": "segfault", "77": "sleep", "150": "shape", "170": "process-kill"}
    bad |= {"180": "process-raise", "190": "process-rows"}
    settings = {"workers": workers, "sample_timeout": 1, "max_failed_samples": 20}
    run = make_run(tmp_path / "run", "Toy", 200, params={"bad": bad, "wait": wait}, **settings)
    assert run_task(run).returncode == 0
    found = {row: (sample.kind, sample.message) for row, sample in failures(run).items()}
    assert found.keys() == {int(row) for row in bad}
    assert found[3] == ("LOAD", "ValueError: bad sample")
    assert found[21] == ("LOAD", "SystemExit: 3")
    assert found[40][0] == found[170][0] == "CRASH"
    assert "SIGSEGV" in found[40][1]
    assert "SIGKILL" in found[170][1]
    assert found[77] == ("SAMPLE_TIMEOUT", "took longer than sample_timeout (1 s)")
    assert found[150][0] == "PROCESS"
    assert "output 'y' is <f8 [n, 5]; the first batch had <f8 [n, 4]" in found[150][1]
    assert found[180] == ("PROCESS", "RuntimeError: bad in process")
    assert "output 'y' has 0 rows for a batch of 1 samples" in found[190][1]
    assert history(run).ok == 200 - len(bad)


def test_a_sample_that_allocates_without_bound_fails_alone(tmp_path: Path) -> None:
    settings = {"memory": 2 << 30, "max_failed_samples": 1}
    run = make_run(tmp_path / "run", "Toy", 64, params={"bad": {"20": "allocate"}}, **settings)
    assert run_task(run).returncode == 0
    assert {row: sample.kind for row, sample in failures(run).items()} == {20: "OUT_OF_MEMORY"}


def test_good_samples_of_a_bad_batch_keep_their_values(tmp_path: Path) -> None:
    clean = make_run(tmp_path / "clean", "Toy", 64, batch_size=64)
    hurt = make_run(
        tmp_path / "hurt", "Toy", 64, batch_size=64, params={"bad": {"9": "process-raise"}}, max_failed_samples=1
    )
    assert run_task(clean).returncode == run_task(hurt).returncode == 0
    (expected, texts, _), (found, _, _) = content(clean)[0], content(hurt)[0]
    row_bytes = len(expected["y"]) // 64
    assert found["y"][: 9 * row_bytes] == expected["y"][: 9 * row_bytes]
    assert found["y"][10 * row_bytes :] == expected["y"][10 * row_bytes :]
    assert texts["text"].startswith(b"row 0row 1")


def test_outputs_that_are_views_of_the_batch_are_stored_as_they_were(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Echo", 3000, batch_size=8)
    assert run_task(run).returncode == 0
    for start, (rows, _, _) in content(run).items():
        values = np.frombuffer(rows["y"]).reshape(-1, 16)
        assert (values == np.arange(start, start + len(values))[:, None]).all()


@pytest.mark.parametrize("workers", [0, 1])
def test_while_a_device_computes_results_are_stored_and_stay_as_they_were(tmp_path: Path, workers: int) -> None:
    run = make_run(tmp_path / "run", "Waits", 3000, batch_size=64, workers=workers)
    assert run_task(run).returncode == 0
    seen = []
    for start, (rows, _, _) in content(run).items():
        values = np.frombuffer(rows["y"]).reshape(-1, 16)
        assert (values == np.arange(start, start + len(values))[:, None]).all()
        seen.append(tuple(np.frombuffer(rows["threads"], np.int64)[:2]))
    assert seen[0] == (1, 1)
    assert seen[-1] == (1, 2)


def test_too_many_failed_samples_end_the_attempt_and_a_rerun_tries_them_again(tmp_path: Path) -> None:
    bad = {str(row): "raise" for row in range(20, 40)}
    run = make_run(tmp_path / "run", "Toy", 200, params={"bad": bad}, max_failed_samples=0.05)
    assert run_task(run).returncode == 1
    end = last_end(run)
    assert (end.reason, end.kind) == ("failed", "TOO_MANY_FAILED_SAMPLES")
    assert "10 may (node.max_failed_samples)" in end.message
    write_submission(run, [(0,)], number=2, retry_failed=True, max_failed_samples=20)
    assert run_task(run, submission=2).returncode == 0
    assert failures(run).keys() == set(range(20, 40))


def test_a_job_that_fails_every_sample_is_an_error_of_the_job(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Toy", 64, params={"bad": {str(row): "raise" for row in range(64)}})
    assert run_task(run).returncode == 1
    end = last_end(run)
    assert end.kind == "ERROR"
    assert "every sample so far failed: ValueError: bad sample" in end.message


@pytest.mark.parametrize(
    ("worker", "message"), [(False, "setup: RuntimeError: no such model"), (True, "no such tokenizer")]
)
def test_an_exception_in_setup_is_an_error_with_its_traceback_in_the_log(
    tmp_path: Path, worker: bool, message: str
) -> None:
    run = make_run(tmp_path / "run", "BadSetup", 64, params={"worker": worker})
    ended = run_task(run)
    assert ended.returncode == 1
    end = last_end(run)
    assert end.kind == "ERROR"
    assert message in end.message
    assert "Traceback" in ended.stderr


def test_a_process_that_cannot_start_ends_the_attempt(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "DyingSetup", 64)
    assert run_task(run).returncode == 1
    end = last_end(run)
    assert end.kind == "CRASH"
    assert "died 3 times in a row: signal 11 (SIGSEGV)" in end.message


@pytest.mark.parametrize("wait", [0, 0.03])
def test_a_process_that_dies_again_and_again_at_no_sample_ends_the_attempt(tmp_path: Path, wait: float) -> None:
    # Of several workers, one may be through with the batch at 160 before another is with the one at 144.
    run = make_run(tmp_path / "run", "Unstorable", 800, params={"wait": wait}, workers=1)
    ended = run_task(run)
    assert (ended.returncode, "nobody thought of this" in ended.stderr) == (1, True)
    end = last_end(run)
    assert end.kind == "CRASH"
    assert "died 3 times in a row" in end.message
    assert set(history(run).commits) == set(range(0, 160, 16))


def test_a_shard_whose_samples_all_fail_within_the_budget_is_done(tmp_path: Path) -> None:
    bad = {str(row): "raise" for row in range(8)}
    run = make_run(tmp_path / "run", "Toy", 8, params={"bad": bad}, max_failed_samples=1.0)
    assert run_task(run).returncode == 0
    assert run.shard_done(0).exists()
    assert (history(run).ok, history(run).failed) == (0, 8)


@pytest.mark.parametrize(
    ("stop", "params"),
    [
        (signal.SIGTERM, {"delay": 0.002}),
        (signal.SIGINT, {"delay": 0.002}),
        (signal.SIGUSR2, {"delay": 0.002}),
        (signal.SIGTERM, {"wait": 0.03}),
    ],
)
def test_a_signal_commits_and_leaves_and_the_next_attempt_goes_on(
    tmp_path: Path, stop: signal.Signals, params: dict[str, float]
) -> None:
    run = make_run(tmp_path / "run", "Random", 2000, params=params)
    task = subprocess.Popen(command(run))
    wait_for_commits(run, 8)
    tree = psutil.Process(task.pid).children(recursive=True)
    task.send_signal(stop)
    assert task.wait(20) == 75
    assert last_end(run).reason == "stopped"
    psutil.wait_procs(tree, 5)
    assert alive(tree) == []
    before = set(history(run).commits)
    assert run_task(run).returncode == 0
    assert last_end(run).committed <= 2000 - 16 * len(before)
    undisturbed = make_run(tmp_path / "undisturbed", "Random", 2000)
    assert run_task(undisturbed).returncode == 0
    assert content(run) == content(undisturbed)


def test_a_second_signal_ends_the_task_at_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Toy", 64, params={"bad": {"40": "sleep"}}, workers=0)
    task = subprocess.Popen(command(run))
    wait_for_commits(run, 1)
    tree = psutil.Process(task.pid).children(recursive=True)
    while task.poll() is None:  # two that come together count as one
        task.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    assert task.wait() == 75
    last = history(run).last
    assert last
    assert last.end is None, "it has not waited for the batch at hand"
    psutil.wait_procs(tree, 5)
    assert alive(tree) == []


def test_no_process_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Random", 5000, params={"delay": 0.002}, processes=2)
    task = subprocess.Popen(command(run))
    wait_for_commits(run, 2)
    tree = psutil.Process(task.pid).children(recursive=True)
    assert len(tree) >= 7
    task.kill()
    task.wait()
    psutil.wait_procs(tree, 5)
    assert alive(tree) == []


def test_a_task_leaves_when_its_parent_dies(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Random", 5000, params={"delay": 0.002})
    shell = ["sh", "-c", '"$@" --parent $$ & wait', "sh", *command(run)]
    parent = subprocess.Popen(shell)
    wait_for_commits(run, 2)
    tree = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait()
    psutil.wait_procs(tree, 15)
    assert alive(tree) == []
    assert last_end(run).reason == "stopped"


def test_a_second_attempt_at_a_running_shard_leaves_it_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Toy", 64)
    with Journal(run.journal(0)):
        ended = run_task(run)
    assert ended.returncode == 75
    assert "another attempt is running this shard" in ended.stderr


def test_a_batch_whose_first_part_came_before_the_layout_is_checked_against_it(tmp_path: Path) -> None:
    """Half of the first batch is done, then the second makes the layout, then the rest of the first fails."""
    run = make_run(tmp_path / "run", "TwoForms", 12, batch_size=4, workers=1, max_failed_samples=4)
    assert run_task(run).returncode == 0
    found = {row: sample.message for row, sample in failures(run).items()}
    assert found.keys() == {0, 1, 2, 3}
    assert "output 'y' is <f4 [n]; the first batch had <i8 [n]" in found[0]
    stored = [np.frombuffer(content(run)[start][0]["y"], np.int64).tolist() for start in (0, 4, 8)]
    assert stored == [[0, 0, 0, 0], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_rows_that_are_damaged_on_disk_are_done_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Random", 400)
    assert run_task(run).returncode == 0
    expected = content(run)
    os.rename(run.shard_done(0), run.shard_part(0))
    offset = layout_of(run).outputs[0].offset
    with run.shard_part(0).open("r+b") as file:
        file.seek(offset + 100 * 64)
        file.write(b"damaged")
    assert run_task(run).returncode == 0
    assert last_end(run).committed == 16
    assert content(run) == expected


def test_a_shard_file_that_vanished_is_made_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Random", 400)
    assert run_task(run).returncode == 0
    expected = content(run)
    run.shard_done(0).unlink()
    assert run_task(run).returncode == 0
    assert content(run) == expected


def test_a_done_shard_is_not_run_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Toy", 64)
    assert run_task(run).returncode == 0
    assert "done already" in run_task(run).stdout
    assert len(history(run).attempts) == 1


def test_a_group_of_shards_runs_in_sequence_with_the_processes_kept(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Toy", 300, shards=3)
    write_submission(run, [(0, 1, 2)])
    assert run_task(run).returncode == 0
    assert all(run.shard_done(shard).exists() for shard in range(3))


def test_all_processes_take_part_each_with_its_device(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Where", 800, processes=2, workers=1)
    assert run_task(run).returncode == 0
    rows = b"".join(rows["process"] for rows, _, _ in content(run).values())
    assert set(rows[::8]) == {0, 1}


def test_a_job_without_torch_never_pays_for_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "NoTorch", 64)
    assert run_task(run).returncode == 0
    for rows, _, _ in content(run).values():
        assert set(rows["worker"]) == set(rows["process"]) == {0}


def test_a_run_that_does_not_exist_is_bad_input(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*command(make_run(tmp_path / "run", "Toy", 8))[:4], str(tmp_path / "other"), "1", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "no run directory" in ended.stderr
    assert "Traceback" not in ended.stderr


def wait_for_commits(run: RunDir, count: int) -> None:
    wait_until(lambda: len(history(run).commits) >= count)
