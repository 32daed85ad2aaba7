"""Devices that run out of memory, break or vanish: the run goes on, with smaller pieces or without them."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import described
from jobs.exit_codes import STOPPED
from jobs.node.batches import BatchWork, PieceLimit
from jobs.node.memory_errors import is_device_lost, is_out_of_memory
from jobs.node.messages import Batch
from jobs.storage.rundir import RunDir
from tests.support.patience import PATIENCE
from tests.support.task_runs import command, commits, content, failures, last_end, make_run, run_task

JOBS = "tests.example_jobs.device_jobs"


def rows_of(run: RunDir, shards: int = 1) -> dict[int, Any]:
    return {start: rows for shard in range(shards) for start, (rows, _, _) in content(run, shard).items()}


@pytest.mark.parametrize("workers", [0, 2])
def test_out_of_device_memory_halves_what_is_processed_at_a_time_and_goes_on(tmp_path: Path, workers: int) -> None:
    tries = tmp_path / "tries"
    params = {"most": 5, "tries": str(tries)}
    run = make_run(tmp_path / "run", f"{JOBS}:SmallDevice", 160, batch_size=16, params=params, workers=workers)
    reference = make_run(tmp_path / "reference", "Toy", 160, batch_size=16)
    done = run_task(run)
    assert done.returncode == run_task(reference).returncode == 0
    assert rows_of(run) == rows_of(reference)
    assert {commit.split for commit in commits(run).values()} == {True}
    sizes = [int(line) for line in tries.read_text().splitlines()]
    # 16 and 8 are tried for the batches that were on their way when the first failed, and for no others.
    assert sum(size > 5 for size in sizes) <= 3 * (1 + 2 * max(workers, 1) * 2)
    assert sizes[-20:] == [4] * 20
    assert "going on with 4 at a time" in done.stdout


def test_a_device_that_comes_back_is_used_again(tmp_path: Path) -> None:
    params = {"process": 1, "folder": str(tmp_path), "times": 3}
    run = make_run(tmp_path / "run", f"{JOBS}:LosesDevice", 640, params=params, processes=2)
    done = run_task(run)
    assert done.returncode == 0
    assert not failures(run)
    assert "process 1 died of exit code 74" in done.stdout
    assert "going on without" not in done.stdout


def test_a_device_that_is_lost_for_good_is_given_up_and_its_rows_are_done_by_others(tmp_path: Path) -> None:
    params = {"process": 1, "folder": str(tmp_path), "gone": True}
    run = make_run(tmp_path / "run", f"{JOBS}:LosesDevice", 640, params=params, processes=2)
    reference = make_run(tmp_path / "reference", "Toy", 640)
    done = run_task(run)
    assert done.returncode == run_task(reference).returncode == 0
    assert "going on without process 1 on cpu: setup: RuntimeError: CUDA error: no CUDA-capable device" in done.stdout
    assert not failures(run)
    assert rows_of(run) == rows_of(reference)


def test_an_attempt_whose_only_device_is_lost_ends_with_the_reason(tmp_path: Path) -> None:
    params = {"process": 0, "folder": str(tmp_path), "gone": True}
    run = make_run(tmp_path / "run", f"{JOBS}:LosesDevice", 64, params=params, processes=1)
    assert run_task(run).returncode == 1
    end = last_end(run)
    assert (end.kind, "no CUDA-capable device" in end.message) == ("ERROR", True)


def test_a_sample_that_breaks_the_device_fails_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", f"{JOBS}:PoisonedSample", 64, params={"row": 20}, max_failed_samples=1)
    assert run_task(run).returncode == 0
    assert {row: sample.kind for row, sample in failures(run).items()} == {20: "CRASH"}


def test_a_batch_that_does_not_fit_beside_the_others_is_done_in_smaller_pieces(tmp_path: Path) -> None:
    """Eight samples of 60 MB exceed the task's 400 MB, one does not; a whole batch of them fits at no time."""
    params, settings = {"process": {"20": 60}}, {"workers": 1, "memory": 400 << 20}
    run = make_run(
        tmp_path / "run", "tests.example_jobs.greedy_jobs:Swollen", 64, batch_size=8, params=params, **settings
    )
    reference = make_run(tmp_path / "reference", "Toy", 64, batch_size=8)
    done = run_task(run)
    assert (done.returncode, run_task(reference).returncode) == (0, 0), done.stdout
    assert rows_of(run) == rows_of(reference)
    assert "memory ran out" in done.stdout
    assert commits(run)[16].split


def test_a_task_that_is_told_to_leave_while_a_batch_is_alone_leaves_in_good_order(tmp_path: Path) -> None:
    params, settings = {"process": {"20": 60}}, {"workers": 1, "memory": 400 << 20}
    run = make_run(
        tmp_path / "run", "tests.example_jobs.greedy_jobs:Swollen", 64, batch_size=8, params=params, **settings
    )
    with subprocess.Popen(command(run), stdout=subprocess.PIPE, text=True) as task:
        assert task.stdout is not None
        assert any("memory ran out" in line for line in task.stdout)
        task.terminate()
        task.stdout.read()
        assert task.wait(PATIENCE) == STOPPED
    assert last_end(run).end == "stopped"


@given(st.integers(1, 40), st.integers(0, 50), st.integers(0, 50))
def test_pieces_cover_a_batch_once_and_none_is_larger_than_allowed(rows: int, most: int, limit: int) -> None:
    work = BatchWork.begin(Batch(100, 100 + rows, most))
    pieces = work.pieces(limit)
    assert [row for piece in pieces for row in range(piece.start, piece.stop)] == list(range(100, 100 + rows))
    allowed = min((size for size in (most, limit) if size), default=rows)
    assert max(piece.stop - piece.start for piece in pieces) <= allowed
    assert work.split == (len(pieces) > 1)
    assert work.open == len(pieces)


def test_a_limit_halves_at_once_and_doubles_only_after_a_long_time() -> None:
    limit = PieceLimit()
    limit.passed(64)
    assert limit.samples == 0
    limit.shrink(64)
    assert limit.samples == 32
    for _ in range(63):
        limit.passed(32)
        limit.passed(5)  # a rest says nothing about 32
    assert limit.samples == 32
    limit.passed(32)
    assert limit.samples == 64
    limit.shrink(1)
    assert limit.samples == 1


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("CUDA error: device-side assert triggered", True),
        ("CUDA error: an illegal memory access was encountered", True),
        ("index out of range", False),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", False),
    ],
)
def test_a_lost_device_is_told_from_other_errors(text: str, lost: bool) -> None:
    assert is_device_lost(RuntimeError(text)) == lost
    assert is_device_lost(ExceptionGroup("requests", [ValueError("no"), RuntimeError(text)])) == lost


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB"),
        ("AcceleratorError", "CUDA error: out of memory"),
        ("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        ("RuntimeError", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_out_of_memory_is_never_a_lost_device(name: str, text: str) -> None:
    error = type(name, (RuntimeError,), {})(text)
    for one in (error, ExceptionGroup("requests", [ValueError("no"), ExceptionGroup("more", [error])])):
        assert is_out_of_memory(one)
        assert not is_device_lost(one)
    assert (
        described(ExceptionGroup("requests", [error])) == f"ExceptionGroup: requests (1 sub-exception): {name}: {text}"
    )
