"""GPUs that a local run asks for: refused before anything is planned where this machine has none."""

from pathlib import Path

import pytest

from jobs.errors import InputError
from launcher.config.config import load_config
from launcher.executors import choose_executor
from launcher.local import local_executor
from tests.support.launcher_runs import launcher, run_of, write_config


def check(folder: Path, devices: object) -> None:
    config = load_config(write_config(folder, node={"devices": devices}))
    choose_executor("local").check(config)


@pytest.mark.parametrize("devices", ["cuda", ["cuda:0"], ["cpu", "cuda:2"]])
def test_a_gpu_that_is_not_here_is_refused(tmp_path: Path, devices: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_executor, "_GPU_FILES", ())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(InputError, match=r"node\.devices: cuda:\d: this machine shows 0 GPU.* valid here: auto, cpu$"):
        check(tmp_path, devices)


@pytest.mark.parametrize("devices", ["auto", "cpu", "cuda", ["cuda:1", "cuda:0"]])
def test_those_that_are_here_are_not(tmp_path: Path, devices: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    check(tmp_path, devices)


def test_a_number_too_high_is_refused_with_those_that_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(InputError, match=r"cuda:2: this machine shows 2 GPU.*valid here: auto, cpu, cuda:0, cuda:1$"):
        check(tmp_path, ["cuda:1", "cuda:2"])


def test_what_this_machine_cannot_tell_is_left_to_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_executor, "_GPU_FILES", ("/dev/null",))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    check(tmp_path, "cuda")


def test_plan_makes_no_run_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    config = write_config(tmp_path, node={"devices": ["cuda:1"]})
    refused = launcher(tmp_path, "plan", config)
    assert refused.returncode == 2
    assert "valid here" in refused.stderr
    assert not run_of(config).path.exists()


def test_a_key_that_goes_away_says_what_to_write_instead(tmp_path: Path) -> None:
    config = write_config(tmp_path, slurm={"shards_per_task": 2})
    done = launcher(tmp_path, "plan", config, "--json")
    assert done.returncode == 0
    assert done.stderr.startswith(f"{config}:1: slurm.shards_per_task: goes with the next version; write slurm.tasks")
