"""The probe of Jobs that take samples one by one, and of several processes for each GPU."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.generation.port import free_port
from jobs.kinds import SampleFailureKind
from jobs.storage.records import Commit, FailedSample
from jobs.storage.submission import NodeSettings
from launcher.config.config import load_config
from launcher.probe.advice import advise
from launcher.probe.batch_search import BatchSearch
from launcher.probe.config_writer import write_config as write_config_file
from launcher.probe.folder import throw_away_run
from launcher.probe.machine import Machine, find_machine
from launcher.probe.measurement import Measurement, is_enough, measure
from launcher.probe.sample_search import SampleSearch
from launcher.probe.session import probe
from launcher.probe.sizes import Scope
from launcher.probe.trial import Trace, TrialSettings
from tests.support.launcher_runs import ROOT, document, launcher, write_config
from tests.support.patience import PATIENCE

GIB = 1 << 30
JOBS = """
import asyncio
import time
import numpy as np
from jobs import Job

class Saturating(Job):
    def __init__(self, room: int = 16):
        self.room = room
    def load(self, sample):
        return float(sample["x"])
    async def setup(self, context):
        self.places = asyncio.Semaphore(self.room)
    async def process_sample(self, item, seed):
        async with self.places:
            await asyncio.sleep(0.1)
        return {"y": item}

class Sleeping(Job):
    def load(self, sample):
        return np.zeros(1)
    def process(self, batch):
        time.sleep(0.02 * len(batch))
        return {"y": batch}
"""


class OneGpu(Machine):
    """This machine, of which everything is tried as for a GPU, on the CPU."""

    @property
    def gpus(self) -> int:
        return 1


# --- what is tried, with trials that are computed


class Computed:
    """Trials of a machine with so many CPUs; ``rate`` has what settings reach, None where they cannot be."""

    def __init__(self, rate: Callable[[TrialSettings], float | None], *, cpus: int = 16, gpus: int = 0, **more: Any):
        self.rate, self.more = rate, more
        devices = tuple(f"cuda:{number}" for number in range(gpus)) or ("cpu",)
        self.machine = Machine("here", tuple(range(cpus)), devices, None, 16 * GIB)
        self.node = NodeSettings(sample_timeout=60.0)
        self.samples, self.seconds, self.cpus, self.memory = range(100_000), 60.0, cpus, 0.8 * 16 * GIB
        self.measured: list[Measurement] = []
        self.notes: list[str] = []
        self.plan: Any = None
        self.tried: list[TrialSettings] = []

    def measure(self, settings: TrialSettings, seconds: float, *, is_first: bool = False) -> Measurement | None:
        self.tried.append(settings)
        rate = self.rate(settings)
        if rate is None:
            return None
        known = {"peak_memory": GIB, "slowest": 1.0, "failed": (), "rough": False}
        special = {name: value(settings) for name, value in self.more.items()}
        self.measured.append(
            Measurement(settings, self.machine.gpus, 1000, rate, 1.0, 0.001, cpu_use=None, gpu_use=None,
                        output_bytes=1.0, **{**known, **special})
        )  # fmt: skip
        return self.measured[-1]

    def attempt(self, settings: TrialSettings) -> Measurement | None:
        return self.measure(settings, 1.0)


def searched(trials: Any, workers: int = 1) -> TrialSettings:
    search = SampleSearch(trials, workers)
    search.run()
    return search.chosen().settings


def in_flight(trials: Computed) -> list[int | None]:
    return [settings.in_flight for settings in trials.tried if settings.processes == len(trials.machine.devices)]


def test_more_are_in_flight_until_that_brings_nothing() -> None:
    trials = Computed(lambda settings: min(settings.lanes, 100) * 2.0)
    assert searched(trials).in_flight == 128
    assert in_flight(trials) == [8, 16, 32, 64, 128, 256]


def failing(settings: TrialSettings) -> tuple[FailedSample, ...]:
    return (FailedSample(0, SampleFailureKind.PROCESS, "429"),) * (200 if settings.lanes > 32 else 5)


def test_more_are_not_in_flight_where_more_of_them_fail_or_are_late() -> None:
    trials = Computed(lambda settings: float(settings.lanes), failed=failing)
    assert searched(trials).in_flight == 32
    assert trials.notes == ["1 process x 1 worker, 64 in flight: 20% of the samples failed, 0% with fewer"]
    trials = Computed(lambda settings: float(settings.lanes), slowest=lambda settings: settings.lanes * 1.0)
    assert searched(trials).in_flight == 16
    assert trials.notes == ["1 process x 1 worker, 32 in flight: a sample took 32 s, and node.sample_timeout is 60 s"]


def test_more_are_not_in_flight_than_memory_has_room_for() -> None:
    trials = Computed(lambda settings: float(settings.lanes), peak_memory=lambda settings: settings.lanes * GIB // 8)
    assert searched(trials).in_flight == 64
    assert trials.notes == ["128 samples in flight were not tried: memory might not do"]


def test_what_is_too_slow_for_a_rate_is_no_step() -> None:
    trials = Computed(lambda settings: float(settings.lanes), rough=lambda settings: settings.lanes > 16)
    assert searched(trials).in_flight == 16
    trials = Computed(lambda settings: float(settings.lanes), rough=lambda settings: True)
    assert searched(trials).in_flight == 8


def test_processes_share_a_gpu_while_that_brings_something_with_the_cpus_that_there_are() -> None:
    trials = Computed(lambda settings: min(settings.lanes, 16) * min(settings.processes, 8), cpus=12, gpus=2)
    chosen = searched(trials, workers=4)
    assert [settings for settings in trials.tried if settings.processes > 2] == [
        TrialSettings(4, 3, 1, 8), TrialSettings(8, 1, 1, 8),
    ]  # fmt: skip
    assert chosen == TrialSettings(8, 1, 1, 8)


def test_processes_with_gpus_of_their_own_share_none() -> None:
    trials = Computed(lambda settings: float(min(settings.lanes, 16)), cpus=12, gpus=2)
    trials.node = NodeSettings(gpus_per_process=2)
    assert searched(trials).processes == 2
    assert {settings.processes for settings in trials.tried} == {2}
    assert TrialSettings(2, 3, 1, 8, gpus_per_process=2).cpus == 10


def test_batches_share_a_gpu_too() -> None:
    trials: Any = Computed(lambda settings: 100.0 * min(settings.processes, 4), gpus=1)
    trials.plan = type("Plan", (), {"rows": 100_000})
    trials.left = trials.need = lambda *_: 0.0
    search = BatchSearch(trials, 16)
    search.run()
    assert search.chosen().settings.processes == 4


def test_where_all_settings_of_processes_fail_one_is_chosen() -> None:
    trials = Computed(lambda settings: None if settings.processes > 1 else float(min(settings.lanes, 16)), gpus=1)
    assert searched(trials) == TrialSettings(1, 1, 1, 16)


def test_what_was_found_is_recommended_and_written(tmp_path: Path) -> None:
    path = config(tmp_path, "sample_probe_jobs:Saturating")
    trials: Any = Computed(lambda settings: min(settings.lanes, 100) * 2.0, median=lambda _: 0.5)
    search = SampleSearch(trials, 1)
    search.run()
    advice = advise(load_config(path), search.chosen(), trials.measured, Scope(20_000, 20_000))
    told = {one.name: one for one in advice.recommendations}
    assert told["node.in_flight"].reason == (
        "200 samples/s, 16 with 8, 32 with 16, 64 with 32, 128 with 64, 200 with 256, "
        "half of the samples then take 0.5 s or more"
    )
    write_config_file(path, load_config(path), advice.recommendations)
    assert (load_config(path).node.in_flight, load_config(path).node.workers) == (128, 1)


# --- what is measured


def trace(times: list[float], *, stopped: bool = True) -> Trace:
    commits = tuple(Commit(row, row + 1, seconds=0.5) for row in range(len(times)))
    return Trace(tuple(times), commits, None, 0, "", GIB, stopped)


def test_the_rate_of_samples_is_that_between_moments_at_which_they_are_stored() -> None:
    four = TrialSettings(1, 1, 1, 4)
    times = [float(lump) for lump in range(2, 10) for _ in range(8)]
    assert measure(four, 0, trace(times), np.ones(64)).rate == pytest.approx(8)
    ended = measure(four, 0, trace([*times, 15.0, 16.0, 17.0, 18.0], stopped=False), np.ones(68))
    assert ended.rate == pytest.approx(8)
    assert not ended.rough
    assert measure(four, 0, trace([2.0, 2.0, 2.5]), np.ones(3)).rough


def test_a_rate_of_samples_needs_those_in_flight_twice_and_some_time() -> None:
    four = TrialSettings(1, 1, 1, 4)
    assert not is_enough([1.0] * 4 + [3.0] * 3, four, 1.0)
    assert is_enough([1.0] * 4 + [3.0] * 4, four, 1.0)
    assert not is_enough([1.0] * 4 + [1.5] * 4, four, 1.0)


# --- the command


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where all temporary folders go; empty at the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


def config(folder: Path, job: str, **sections: Any) -> Path:
    (folder / "sample_probe_jobs.py").write_text(JOBS)
    return write_config(folder, 20_000, job=job, **{"node": {"workers": 1}, **sections})


def recommended(folder: Path, seconds: int) -> dict[str, Any]:
    """Where load keeps it from trying 32 in flight, or from anything, it gets more time."""
    found = {}
    for factor in (1, 2, 5):
        done = launcher(folder, "probe", "config.yaml", "--json", "--seconds", factor * seconds)
        found = dict(document(done)) if done.returncode == 0 else {}
        if any(one["in_flight"] == 32 for one in found.get("measurements", ())):
            break
    assert found, done.stderr
    return found


def test_samples_in_flight_are_recommended_for_a_job_with_room_for_sixteen(tmp_path: Path) -> None:
    config(tmp_path, "sample_probe_jobs:Saturating")
    found = recommended(tmp_path, 12)
    told = {one["key"]: one for one in found["recommendations"]}
    assert told["node.in_flight"]["value"] == found["chosen"]["in_flight"]
    assert told["node.in_flight"]["value"] in (16, 32), found
    assert "node.batch_size" not in told
    first = found["measurements"][0]
    assert 0.1 < first["median"] < 1, "a tenth of a second, and what a loaded machine takes to wake a process"
    assert 0.3 < first["rate"] * first["median"] / first["in_flight"] < 1.5


@pytest.mark.thorough
def test_samples_in_flight_are_recommended_for_a_server_with_room_for_sixteen(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    port = free_port()
    words = [sys.executable, "-m", "tests.support.fake_engine", str(port), "{}", str(tmp_path), "16"]
    with subprocess.Popen(words, cwd=ROOT) as server:
        try:
            params = {"model": "none", "base_url": f"http://127.0.0.1:{port}/v1", "prompt": "number {x}"}
            config(tmp_path, "jobs.text_generation:TextGeneration", params=params)
            found = recommended(tmp_path, 20)
        finally:
            server.kill()
    assert found["chosen"]["in_flight"] in (16, 32), found


@pytest.mark.thorough
@pytest.mark.parametrize("job", ["Saturating", "Sleeping"])
def test_processes_share_a_device_that_each_leaves_idle(tmp_path: Path, job: str) -> None:
    path = config(tmp_path, f"sample_probe_jobs:{job}", node={"workers": 0, "batch_size": 8})
    here = find_machine(load_config(path))
    machine = OneGpu(here.host, here.cpus, here.devices, here.visible, here.memory)
    if len(machine.cpus) < 2:
        pytest.skip("one CPU")
    with throw_away_run(load_config(path)) as planned:
        found = probe(load_config(path), planned, machine, min(PATIENCE, 30.0), print)
    assert found.chosen.settings.processes == 2, found
