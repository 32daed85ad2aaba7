"""A Job whose load is `async def`: the samples of a batch are loaded at once, and each still fails alone."""

import asyncio
import contextlib
import os
import signal
import time
from typing import Any

import pytest

from jobs.job import Job
from jobs.storage.samples import Sample
from tests.support.task_runs import content, failures, last_end, make_run, run_task

MODULE = "tests.jobs.node.worker.test_async_loads:"


class Meeting(Job):
    """Each sample waits for all others of its batch; ``bad`` says what some do instead of loading.

    ``ends`` is a file of the moments at which those that hang were ended.
    """

    def __init__(self, batch: int = 16, bad: dict[str, str] | None = None, ends: str = os.devnull) -> None:
        self.batch = batch
        self.bad = bad or {}
        self.ends = ends
        self.here: list[int] = []

    async def load(self, sample: Sample) -> int:
        self.here.append(sample.index)
        while len(self.here) < self.batch and not self.bad:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        self.here.clear()
        match self.bad.get(str(sample.index)):
            case "raise":
                raise ValueError("bad sample")
            case "exit":
                raise SystemExit(3)
            case "cancel":
                raise asyncio.CancelledError
            case "memory":
                raise MemoryError("too much")
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                try:
                    await asyncio.sleep(3600)
                finally:
                    with open(self.ends, "a") as file:
                        print(time.monotonic(), file=file)
            case "block":
                time.sleep(3600)
            case "deaf":
                while True:
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(3600)
        return int(sample["x"])

    def process(self, batch: Any) -> dict[str, Any]:
        return {"y": batch * 2}


class Alone(Meeting):
    """The same, one sample after another."""

    def load(self, sample: Sample) -> int:  # type: ignore[override]
        return int(sample["x"])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_samples_of_a_batch_are_loaded_at_the_same_time_and_give_the_same_bytes(
    tmp_path: Any, workers: int
) -> None:
    run = make_run(tmp_path / "run", f"{MODULE}Meeting", 96, workers=workers)
    other = make_run(tmp_path / "other", f"{MODULE}Alone", 96)
    assert run_task(run).returncode == run_task(other).returncode == 0
    assert content(run) == content(other)


@pytest.mark.parametrize("workers", [0, 2])
def test_each_bad_sample_fails_alone_with_its_kind(tmp_path: Any, workers: int) -> None:
    bad = {"3": "raise", "4": "exit", "5": "cancel", "20": "memory", "33": "crash", "40": "hang"}
    settings = {"workers": workers, "sample_timeout": 1, "max_failed_samples": 9}
    run = make_run(tmp_path / "run", f"{MODULE}Meeting", 64, params={"bad": bad}, **settings)
    assert run_task(run).returncode == 0
    found = {row: (sample.kind, sample.message) for row, sample in failures(run).items()}
    assert found[3] == ("LOAD", "ValueError: bad sample")
    assert found[4] == ("LOAD", "SystemExit: 3")
    assert found[5][0] == "LOAD"
    assert found[20][0] == "OUT_OF_MEMORY"
    assert found[33][0] == "CRASH"
    assert found[40] == ("SAMPLE_TIMEOUT", "took longer than sample_timeout (1 s)")
    assert found.keys() == {int(row) for row in bad}
    assert last_end(run).ok == 64 - len(bad)


@pytest.mark.parametrize("workers", [0, 1])
def test_loads_that_hang_are_over_at_the_same_time_and_cost_no_child(tmp_path: Any, workers: int) -> None:
    bad = {str(row): "hang" for row in range(3, 12)} | {"12": "deaf"}
    settings = {"workers": workers, "sample_timeout": 3, "max_failed_samples": 16}
    params = {"bad": bad, "ends": str(tmp_path / "ends")}
    run = make_run(tmp_path / "run", f"{MODULE}Meeting", 32, params=params, **settings)
    done = run_task(run)
    assert done.returncode == 0
    assert "died" not in done.stdout
    assert "killed" not in done.stdout
    ends = [float(line) for line in (tmp_path / "ends").read_text().split()]
    assert len(ends) == 9
    assert max(ends) - min(ends) < 3
    assert {row: sample.kind for row, sample in failures(run).items()} == dict.fromkeys(map(int, bad), "SAMPLE_TIMEOUT")


def test_a_load_that_lets_no_other_run_is_known_by_its_row(tmp_path: Any) -> None:
    params = {"bad": {"5": "block"}}
    run = make_run(
        tmp_path / "run", f"{MODULE}Meeting", 32, params=params, workers=1, sample_timeout=0.5, max_failed_samples=1
    )
    assert run_task(run).returncode == 0
    assert {row: sample.kind for row, sample in failures(run).items()} == {5: "SAMPLE_TIMEOUT"}
