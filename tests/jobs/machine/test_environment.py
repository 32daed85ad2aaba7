"""Environment: what libraries of a task's children read, users' own values, and CUDA in forked processes."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from jobs.machine import environment
from jobs.node.process.process import use_device
from tests.support.task_runs import make_run, results, run_task


def test_users_own_values_win_but_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ARROW_DEFAULT_MEMORY_POOL", "CUDA_DEVICE_ORDER", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.delenv("PYTORCH_NVML_BASED_CUDA_CHECK", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    environment.prepare()
    found = os.environ
    assert found["ARROW_DEFAULT_MEMORY_POOL"] == found["CUDA_DEVICE_ORDER"] == found["OMP_WAIT_POLICY"] == "mine"
    assert (found["OMP_NUM_THREADS"], found["PYTORCH_NVML_BASED_CUDA_CHECK"]) == ("1", "1")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def test_a_module_may_ask_for_cuda_when_it_is_imported(tmp_path: Path, device: str) -> None:
    if device != "cpu" and not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("no CUDA device")
    run = make_run(tmp_path, "tests.example_jobs.eager_jobs:Doubles", 20, workers=1, devices=(device,))
    done = run_task(run)
    assert done.returncode == 0, done.stdout + done.stderr
    found = results(run)
    assert found["y"].tolist() == [2.0 * row for row in range(20)]
    assert found["cuda"].all() or device == "cpu"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "Cannot re-initialize CUDA in forked subprocess. To use CUDA",
            r"uses CUDA when it is imported; use it in setup\(\)",
        ),
        ("CUDA error: invalid device ordinal", "invalid device ordinal"),
    ],
)
def test_cuda_that_was_used_before_the_fork_is_told_in_the_jobs_words(
    monkeypatch: pytest.MonkeyPatch, said: str, told: str
) -> None:
    def refuse(device: str) -> NoReturn:
        raise RuntimeError(said)

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(set_device=refuse)))
    with pytest.raises(RuntimeError, match=told):
        use_device("cuda:0")
    use_device("cpu")


def test_a_task_says_nothing_of_what_python_warns_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a fork beside threads, from Python 3.12 on: the supervisor has none, whatever libraries it imports."""
    monkeypatch.setenv("PYTHONWARNINGS", "always")
    run = make_run(tmp_path, "Toy", 20, workers=1)
    done = run_task(run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stdout + done.stderr
