"""The probe: what it chooses and computes, and the command on Jobs whose costs are known."""

import json
import math
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InputError
from jobs.kinds import SampleFailureKind
from jobs.storage.records import Block, Commit, FailedSample
from jobs.storage.samples import BATCH_ROWS, Samples
from launcher.config import core_schema
from launcher.config.config import Config, load_config
from launcher.config.yaml_lines import parse_document
from launcher.manifest.manifest import build_manifest
from launcher.probe.advice import Expected, Recommendation, advise
from launcher.probe.choice import choose, choose_size, crowding
from launcher.probe.config_writer import edited, write_config
from launcher.probe.machine import find_machine
from launcher.probe.measurement import Measurement, is_enough, measure, pool
from launcher.probe.peak_memory import PeakMemory
from launcher.probe.probe_samples import ProbeSamples
from launcher.probe.sizes import (
    LONG_TASK,
    MOST_SHARDS,
    STARTUPS,
    Scope,
    memory_size,
    shard_count,
    task_count,
    time_limit,
    wall_seconds,
)
from launcher.probe.trial import Trace, TrialSettings
from launcher.units import parse_time
from tests.support import launcher_runs
from tests.support.launcher_runs import document, launcher, start, wait_until
from tests.support.patience import PATIENCE
from tests.support.task_runs import alive

GIB = 1 << 30
JOBS = """
import time
import numpy as np
from jobs.job import Job

class SlowLoad(Job):
    def __init__(self, seconds: float = 0.04):
        self.seconds = seconds
    def load(self, sample):
        time.sleep(self.seconds)
        return np.full(4, float(sample["x"]))
    def process(self, batch):
        return {"y": batch}

class SlowProcess(Job):
    def load(self, sample):
        return np.full(4, float(sample["x"]))
    def process(self, batch):
        time.sleep(0.02 * len(batch))  # what a neighbour on the same CPU does not change
        return {"y": batch}

class Crawling(Job):
    def load(self, sample):
        time.sleep(0.25)
        return np.zeros(1)
    def process(self, batch):
        return {"y": batch}

class Stuck(Job):
    def load(self, sample):
        time.sleep(3600)
    def process(self, batch):
        return {"y": batch}

class Killed(Job):
    def load(self, sample):
        return 1
    async def process_sample(self, item, seed):
        import os
        os.kill(os.getpid(), 9)

class Failing(Job):
    def __init__(self, share: float = 1.0):
        self.share = share
    def load(self, sample):
        if sample["x"] % 100 < 100 * self.share:
            raise ValueError("no such picture")
        time.sleep(0.002)
        return np.zeros(2)
    def process(self, batch):
        return {"y": batch}
"""


def measurement(
    processes: int = 1, workers: int = 0, batch_size: int = 8, rate: float = 100.0, *, gpus: int = 0, **other: Any
) -> Measurement:
    known: dict[str, Any] = {
        "samples": 100,
        "startup": 2.0,
        "process_seconds": 0.005,
        "peak_memory": GIB,
        "output_bytes": 10.0,
    }
    return Measurement(
        TrialSettings(processes, workers, batch_size), gpus, rate=rate, cpu_use=None, gpu_use=None, **{**known, **other}
    )


# --- the choice


def test_a_smaller_task_is_chosen_among_those_as_good_per_cpu() -> None:
    alone = measurement(1, 0, rate=100)
    assert choose([alone, measurement(2, 0, rate=203), measurement(4, 0, rate=300)]) is alone


def test_a_larger_task_is_chosen_where_each_of_its_cpus_does_more() -> None:
    wide = measurement(2, 0, rate=240)
    assert choose([measurement(1, 0, rate=100), wide]) is wide


def test_pool_workers_are_preferred_to_processes_that_do_as_much() -> None:
    """Each process holds a copy of the model."""
    with_workers = measurement(1, 2, rate=200)
    assert choose([measurement(1, 0, rate=100), with_workers, measurement(2, 0, rate=200)]) is with_workers


def test_pool_workers_that_bring_less_than_their_cpu_are_not_chosen() -> None:
    alone = measurement(1, 0, rate=100)
    assert choose([alone, measurement(1, 2, rate=120)]) is alone


def test_with_gpus_the_fewest_cpus_that_keep_them_busy_are_chosen() -> None:
    enough = measurement(1, 4, rate=970, gpus=1)
    found = [measurement(1, workers, rate=rate, gpus=1) for workers, rate in ((0, 100), (2, 500), (8, 1000))]
    assert choose([*found, enough]) is enough


def test_a_larger_batch_has_to_be_worth_it() -> None:
    small, equal, better = (
        measurement(rate=100),
        measurement(batch_size=16, rate=104),
        measurement(batch_size=32, rate=300),
    )
    assert choose_size([small, equal, better]) is small
    assert choose_size([small, better]) is better


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8), st.floats(0.01, 1e6)), min_size=1, max_size=12))
def test_what_is_chosen_is_always_within_a_twentieth_of_the_best(found: list[tuple[int, int, float]]) -> None:
    measured = [measurement(processes, workers, rate=rate) for processes, workers, rate in found]
    assert choose(measured).value * 1.0501 >= max(one.value for one in measured)


def test_tasks_beside_each_other_slow_each_other_down() -> None:
    alone, larger, wide = measurement(1), measurement(1, batch_size=16, rate=120), measurement(4, rate=200)
    assert crowding(alone, [alone, wide]) == 0.5
    assert crowding(larger, [alone, larger, wide]) == 0.5
    assert crowding(alone, [alone]) == 1.0


def test_measurements_of_one_setting_are_joined() -> None:
    first, second = measurement(rate=100), measurement(rate=50, startup=5.0, peak_memory=2 * GIB)
    (joined,) = pool([first, second])
    assert (joined.samples, joined.startup, joined.peak_memory) == (200, 5.0, 2 * GIB)
    assert joined.rate == pytest.approx(200 / 3)


# --- the measurement


def trace(times: list[float], rows: int = 10, *, stopped: bool = True, seconds: float = 0.0) -> Trace:
    """Of batches of as many rows, with 32 bytes of results each."""
    commits = tuple(
        Commit(at * rows, (at + 1) * rows, (Block(0, 0, 32 * rows, ""),), seconds=seconds) for at in range(len(times))
    )
    return Trace(tuple(times), commits, None, 75, "", GIB, stopped)


def test_the_rate_is_that_between_commits_without_start_up() -> None:
    found = measure(TrialSettings(1, 0, 10), 0, trace([5.0, 6.0, 7.0, 8.0, 9.0], seconds=0.25), np.ones(50))
    assert (found.rate, found.startup, found.samples) == (10.0, 4.0, 50)
    assert found.process_seconds == pytest.approx(0.025)
    assert found.busy == pytest.approx(0.25)
    assert found.output_bytes == 32


@given(st.integers(1, 6), st.integers(2, 9), st.floats(0.1, 50), st.integers(0, 5))
def test_the_rate_of_processes_that_commit_in_step_is_right_wherever_it_stops(
    processes: int, rounds: int, seconds: float, more: int
) -> None:
    times = [3.0 + seconds * number for number in range(1, rounds + 1) for _ in range(processes)]
    times += [3.0 + seconds * (rounds + 1)] * min(more, processes - 1)
    found = measure(TrialSettings(processes, 0, 10), 0, trace(times), np.ones(10 * len(times)))
    assert found.rate == pytest.approx(10 * processes / seconds)
    assert found.startup == pytest.approx(3.0)


def test_samples_count_by_their_cost() -> None:
    found = measure(TrialSettings(1, 0, 10), 0, trace([1.0, 2.0, 4.0]), np.repeat([1.0, 1.0, 2.0], 10))
    assert found.rate == 10.0


def test_one_batch_gives_a_rough_rate() -> None:
    found = measure(TrialSettings(2, 0, 10), 0, trace([5.0], stopped=False), np.ones(10))
    assert (found.rate, found.rough) == (2.0, True)


def test_a_rate_needs_some_batches_of_each_lane_and_some_time() -> None:
    assert not is_enough([], TrialSettings(1, 0, 8), 1.0)
    assert not is_enough([1.0, 9.0], TrialSettings(2, 0, 8), 1.0)
    assert not is_enough([1.0, 1.1, 1.2, 1.3], TrialSettings(1, 0, 8), 1.0)
    assert is_enough([1.0, 1.5, 2.0, 2.5], TrialSettings(1, 0, 8), 1.0)


MEMORY = """
import mmap, os, sys
own = bytearray(100 << 20)
shared = mmap.mmap(-1, 100 << 20)
for at in range(0, 100 << 20, 4096):
    own[at] = shared[at] = 1
child = os.fork()
for at in range(0, 100 << 20, 4096):
    shared[at]
    own[at]
print("ready", flush=True)
sys.stdin.read()
"""


def memory_now(pid: int) -> int:
    memory = PeakMemory(pid)
    memory.look()
    return memory.bytes


def test_memory_that_processes_share_counts_once() -> None:
    with subprocess.Popen([sys.executable, "-c", MEMORY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdin
        assert [process.stdout.readline() for _ in range(2)] == [b"ready\n"] * 2
        found = memory_now(process.pid)
        process.stdin.close()
    assert 200 << 20 <= found <= 230 << 20


def test_the_memory_of_a_process_that_is_gone_is_none() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert memory_now(process.pid) == 0


# --- the sizes


seconds_of_work = st.floats(0.01, 1e9)
startups = st.floats(0, 600)


@given(seconds_of_work, startups, st.integers(1, 10**9), st.integers(1, 20))
def test_shards_take_half_an_hour_to_an_hour_or_as_long_as_the_limits_make_them(
    seconds: float, startup: float, batches: int, parts: int
) -> None:
    shards = shard_count(seconds, startup, Scope(batches, batches, parts))
    each = seconds / shards
    assert 1 <= shards <= min(max(batches, 1), max(MOST_SHARDS, parts))
    assert shards >= min(parts, batches)
    if shards > max(parts, 1):
        assert each >= 1800 * 0.99
        assert each >= STARTUPS * startup / 1.5
    if shards < min(batches, MOST_SHARDS) and startup * STARTUPS <= 2700:
        assert each <= 3600.01


@given(seconds_of_work, startups, st.integers(1, 128))
def test_on_one_machine_all_array_tasks_get_as_many_shards(seconds: float, startup: float, tasks: int) -> None:
    shards = shard_count(seconds, startup, Scope(10**9, 10**9, 1, local_tasks=tasks))
    if seconds < 1800 and shards > 1:
        assert shards % tasks == 0
    if seconds / tasks > startup:
        assert shards >= min(tasks, MOST_SHARDS)


@given(st.integers(0, 1 << 45))
def test_memory_is_a_third_above_the_peak_in_half_gib(peak: int) -> None:
    size = memory_size(peak)
    assert size % (GIB // 2) == 0
    assert peak * 1.3 <= size <= max(peak * 1.3 + GIB // 2, GIB // 2)


@given(st.floats(0.1, 1e6), startups)
def test_the_time_limit_is_twice_what_it_takes_or_more(seconds: float, startup: float) -> None:
    limit, seconds = time_limit(seconds, startup), min(seconds, LONG_TASK)
    assert limit >= 2 * seconds + startup
    assert limit <= max(2 * (2 * seconds + startup) + 60, 600) + 86_400 * (limit > 86_400)
    assert limit % 300 == 0


def test_time_limits_are_values_that_people_use_and_fit_into_gaps() -> None:
    assert [time_limit(minutes * 60, 0) // 60 for minutes in (1, 7, 45, 70, 500, 800)] == [10, 15, 90, 180, 480, 480]


@given(st.integers(1, 20_000), st.floats(1, 1e5), st.integers(1, 20_000))
def test_each_task_has_as_many_shards_as_another_or_one_less(shards: int, seconds: float, most: int) -> None:
    tasks = task_count(shards, seconds, most)
    assert 1 <= tasks <= min(shards, most)
    if tasks < shards and tasks < most:
        each = math.ceil(shards / tasks)
        assert tasks > 1
        assert each == 1 or math.ceil(shards / (tasks - 1)) > each


def test_each_shard_has_a_task_where_they_are_few() -> None:
    assert task_count(20, 2700, 10_000) == 20
    assert task_count(300, 2700, 10_000) == 150
    assert wall_seconds(300 * 2700, 150, 10) == 2 * 2700 + 10


def test_a_wait_of_days_is_cut_to_one() -> None:
    assert 10_000 * 3600 / task_count(10_000, 3600, 10_000) <= 24 * 3600


# --- the advice


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(launcher_runs.write_config(tmp_path, shards=4))


def advised(
    config: Config, chosen: Measurement, measured: Sequence[Measurement] = (), scope: Scope | None = None
) -> tuple[dict[str, Recommendation], Expected]:
    advice = advise(config, chosen, measured or [chosen], scope or Scope(1_000_000, 125_000))
    return {one.name: one for one in advice.recommendations}, advice.expected


def test_every_recommendation_has_its_reason_and_what_it_was(config: Config) -> None:
    told, expected = advised(config, measurement(1, 2, rate=100))
    assert list(told) == [
        "node.processes", "node.workers", "node.batch_size", "data.shards", "slurm.mem", "slurm.time",
        "slurm.array_parallelism",
    ]  # fmt: skip
    assert (told["node.workers"].value, told["node.workers"].was) == (2, 1)
    assert told["slurm.mem"].value == "1536M"
    assert all(one.reason for one in told.values())
    assert (expected.samples, expected.output_bytes) == (1_000_000, 10_000_000)
    assert expected.cpu_hours == pytest.approx(2 * (10_000 + 2 * expected.tasks) / 3600)
    assert expected.gpu_hours == 0


@pytest.mark.parametrize(("memory", "value"), [(64 * GIB, 2), (3 * GIB, 2), (2 * GIB, 1), (GIB, 1)])
def test_a_run_on_one_machine_is_told_how_many_tasks_its_memory_has_room_for(
    config: Config, memory: int, value: int
) -> None:
    """And nothing of memory and time to ask for: it asks nobody."""
    told, expected = advised(config, measurement(), scope=Scope(10**6, 125_000, local_tasks=2, memory=memory))
    assert list(told)[3:] == ["data.shards", "local.parallelism"]
    assert (told["local.parallelism"].value, told["local.parallelism"].was, expected.tasks) == (value, 2, value)


def test_as_many_tasks_as_the_cpus_allow_stay_that_where_memory_allows_them_too(tmp_path: Path) -> None:
    config = load_config(launcher_runs.write_config(tmp_path, local={"parallelism": "auto"}))
    told, _ = advised(config, measurement(), scope=Scope(10**6, 125_000, local_tasks=2, memory=3 * GIB))
    assert told["local.parallelism"].value == "auto"


def test_what_is_chosen_is_not_told_as_another_size_where_it_was_measured_twice(config: Config) -> None:
    measured = [measurement(batch_size=8, rate=rate) for rate in (100, 100)] + [measurement(batch_size=16, rate=101)]
    told, _ = advised(config, choose_size(pool(measured)), pool(measured))
    assert told["node.batch_size"].reason == "100 samples/s, 101 in batches of 16"


def test_samples_per_shard_stays_the_way_to_say_it(tmp_path: Path) -> None:
    config = load_config(launcher_runs.write_config(tmp_path, shards=None, data={"samples_per_shard": 10}))
    told, expected = advised(config, measurement())
    assert told["data.samples_per_shard"].value == math.ceil(1_000_000 / expected.tasks)
    assert "data.shards" not in told


def test_one_process_for_each_gpu_is_left_open(config: Config) -> None:
    told, expected = advised(config, measurement(1, 4, gpus=1))
    assert told["node.processes"].value is None
    assert expected.gpu_hours == pytest.approx(expected.cpu_hours / 4)


def test_more_gpus_than_there_are_here_are_refused(tmp_path: Path) -> None:
    path = launcher_runs.write_config(tmp_path, executor="slurm", slurm={"gpus_per_task": 64})
    with pytest.raises(InputError, match=r"ask for 64 GPUs, and there are .* run the probe on a node like"):
        find_machine(load_config(path))


# --- the samples


def test_samples_are_spread_and_know_their_place_in_the_whole_manifest(tmp_path: Path) -> None:
    rows = BATCH_ROWS + 1000
    (tmp_path / "a.csv").write_text("x\n" + "".join(f"{2 * row}\n" for row in range(rows)))
    build_manifest("a.csv", tmp_path / "manifest.arrow", None, None, folder=tmp_path)
    samples = ProbeSamples(tmp_path / "manifest.arrow", rows, None)
    first = samples.next(500)
    samples.write(first, tmp_path / "some.arrow")
    found = list(Samples(tmp_path / "some.arrow").rows(0, 500))
    assert [sample.index for sample in found] == [sample.row for sample in found] == first
    assert [sample.id for sample in found] == [str(row) for row in first]
    assert [sample["x"] for sample in found] == [2 * row for row in first]
    assert min(first) < rows / 10
    assert max(first) > rows * 9 / 10


def test_samples_of_several_manifests_know_theirs(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("x\n" + "".join(f"{name}{row}\n" for row in range(10)))
    sources = {name: [f"{name}.csv"] for name in "ab"}
    build_manifest(sources, tmp_path / "manifest.arrow", None, None, folder=tmp_path)
    samples = ProbeSamples(tmp_path / "manifest.arrow", 20, None)
    samples.write(samples.next(20), tmp_path / "some.arrow")
    for sample in Samples(tmp_path / "some.arrow").rows(0, 20):
        assert sample["x"] == f"{sample.manifest}{sample.row}"


def test_each_trial_gets_other_samples_until_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,cost\n" + "".join(f"{row},{row}\n" for row in range(10)))
    build_manifest("a.csv", tmp_path / "manifest.arrow", None, "cost", folder=tmp_path)
    samples = ProbeSamples(tmp_path / "manifest.arrow", 10, "cost")
    taken = []
    for _ in range(2):
        taken += samples.next(5)
        samples.use(5)
    assert sorted(taken) == list(range(10))
    assert not samples.repeated
    assert sorted(samples.next(100)) == list(range(10))
    assert list(samples.weights([0, 9])) == [0.001, 2]


# --- the config file


TEXT = """\
# How it is done
name: x
data:
    manifest: "a.csv"   # all of them
    shards: 4           # old
node: {workers: 2, batch_size: 4}   # in one line
slurm:
    # mem: 4G
    partition: null
    mem-per-cpu: 2G
"""
VALUES = {
    ("data", "shards"): 128,
    ("node", "processes"): None,
    ("node", "workers"): 0,
    ("slurm", "mem"): "4G",
    ("slurm", "time"): "4:00:00",
}


def test_new_values_leave_comments_and_all_else() -> None:
    changed = edited(TEXT, VALUES)
    assert [line.partition("#")[2] for line in TEXT.splitlines() if "#" in line] == [
        line.partition("#")[2] for line in changed.splitlines() if "#" in line
    ]
    found = parse_document(changed, "config.yaml").data
    assert found["data"] == {"manifest": "a.csv", "shards": 128}
    assert found["node"] == {"workers": 0, "batch_size": 4}
    assert "    partition: null\n" in changed
    assert "    time: 4:00:00\n" in changed
    assert "mem-per-cpu" not in changed, "sbatch takes only one of them"


@pytest.mark.parametrize(
    "text", ["name: x\n", "name: x\nslurm:\nnode:\n", '{"name": "x", "slurm": {}}', "name: x\nslurm: # none\n"]
)
def test_sections_that_are_not_there_are_made(text: str) -> None:
    found = parse_document(edited(text, {("slurm", "mem"): "4G", ("node", "workers"): 3}), "config.yaml").data
    assert found["slurm"] == {"mem": "4G"}
    assert found["node"] == {"workers": 3}


def test_what_would_not_load_is_not_written(tmp_path: Path) -> None:
    path = launcher_runs.write_config(tmp_path, retry={"max_memory": "1G"})
    before, config = path.read_text(), load_config(path)
    advice = advise(config, measurement(peak_memory=8 * GIB), [measurement()], Scope(1000, 100))
    with pytest.raises(InputError, match=r"retry.max_memory: 1G is less than slurm.mem"):
        write_config(path, config, advice.recommendations)
    assert path.read_text() == before


def test_cpus_that_would_be_too_few_are_raised(tmp_path: Path) -> None:
    path = launcher_runs.write_config(tmp_path, slurm={"cpus_per_task": 2})
    config = load_config(path)
    chosen = measurement(2, 4)
    write_config(path, config, advise(config, chosen, [chosen], Scope(1000, 100)).recommendations)
    assert load_config(path).slurm.cpus_per_task == 8


def test_a_link_to_a_config_stays_one_and_so_do_its_permissions(tmp_path: Path) -> None:
    path, link = launcher_runs.write_config(tmp_path), tmp_path / "link.yaml"
    path.chmod(0o640)
    link.symlink_to(path.name)
    config, chosen = load_config(link), measurement(2, 4)
    write_config(link, config, advise(config, chosen, [chosen], Scope(1000, 100)).recommendations)
    assert link.is_symlink()
    assert load_config(path).node.workers == 4
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


# --- the command


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where all temporary folders go; empty at the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def written(folder: Path, job: str, rows: int = 20_000, **sections: Any) -> Path:
    path = launcher_runs.write_config(folder, rows, job=f"probe_jobs:{job}", **sections)
    (folder / "probe_jobs.py").write_text(JOBS)
    return path


def probed(path: Path, seconds: int, *arguments: object, needs: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a probe; nothing of it stays. Where load keeps it from measuring settings with ``needs``, it gets more time."""
    before = runs_below(path.parent)
    for factor in (1, 2, 5):
        done = launcher(path.parent, "probe", path.name, "--seconds", factor * seconds, *arguments)
        assert runs_below(path.parent) == before
        assert tasks_of(path.parent) == []
        if re.search(rf"^  \d.*{needs}.*: \S+ samples/s on ", done.stdout + done.stderr, re.MULTILINE):
            break
    return done


def runs_below(folder: Path) -> list[Path]:
    return sorted([*folder.glob("runs"), *folder.glob("runs/**/*")])


def probed_in_vain(path: Path, seconds: int) -> str:
    """Runs a probe that cannot measure anything; returns what it says."""
    done = launcher(path.parent, "probe", path.name, "--seconds", seconds)
    assert done.returncode == 1
    assert not (path.parent / "runs").exists()
    assert tasks_of(path.parent) == []
    assert "Traceback" not in done.stderr
    return done.stderr


def tasks_of(folder: Path) -> list[psutil.Process]:
    """Living array tasks of this folder's runs, and what they started (their command lines are the same)."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join(process.cmdline()) or process.environ().get("TMPDIR", "").startswith(
                str(folder)
            ):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in alive(found) if process.pid != os.getpid()]


def values(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return {one["key"]: one["value"] for one in document(done)["recommendations"]}


def test_workers_are_recommended_where_loading_waits(tmp_path: Path, scratch: Path) -> None:
    """What a sample waits is long against the time that a loaded machine takes to wake a process."""
    path = written(tmp_path, "SlowLoad", params={"seconds": 0.1}, node={"batch_size": 4})
    done = probed(path, 15, "--json", needs=f"{min(len(os.sched_getaffinity(0)), 2)} worker")
    found = values(done)
    if len(os.sched_getaffinity(0)) > 1:
        assert found["node.workers"] > 0, done.stdout
    # A tenth of a second each, and what a loaded machine takes to wake a process.
    assert 2 < document(done)["measurements"][0]["rate"] < 10.5
    assert document(done)["expected"]["samples"] == 20_000


@pytest.mark.thorough
def test_no_workers_are_recommended_where_processing_takes_all_the_time(tmp_path: Path, scratch: Path) -> None:
    done = probed(written(tmp_path, "SlowProcess", node={"batch_size": 24}), 12, "--json", needs="1 worker")
    assert values(done)["node.workers"] == 0, done.stdout
    (reason,) = [one["reason"] for one in document(done)["recommendations"] if one["key"] == "node.workers"]
    assert re.search(r"a process with 1 worker computes (9\d|100)% of the time", reason)


def test_the_config_written_keeps_its_comments_and_plans(tmp_path: Path, scratch: Path) -> None:
    path = written(tmp_path, "SlowProcess")
    path.write_text("# mine\n" + core_schema.written(json.loads(path.read_text())).replace("node:", "node: # the node"))
    done = probed(path, 6, "--write", "--json")
    told = values(done)
    assert f"written: {path.name}" in done.stderr
    text = path.read_text()
    assert "# mine\n" in text
    assert "node: # the node\n" in text
    config = load_config(path)
    assert (config.node.workers, config.local.parallelism) == (told["node.workers"], told["local.parallelism"])
    assert not config.slurm.options
    assert config.data.shards == told["data.shards"]
    planned = launcher(tmp_path, "plan", path.name)
    assert planned.returncode == 0, planned.stderr
    assert re.search(rf"in {config.data.shards} shards?\b", planned.stdout)


def test_the_time_is_kept_to_and_what_is_known_is_told(tmp_path: Path, scratch: Path) -> None:
    path = written(tmp_path, "Crawling", node={"batch_size": 4})
    for seconds in (8, 24):
        process = start(tmp_path, "probe", path.name, "--seconds", seconds)
        assert process.stdout
        assert any(f"{seconds} s at most" in line for line in process.stdout)  # before it a slow disk is told
        began = time.monotonic()
        text = process.communicate(timeout=PATIENCE)[0]
        assert time.monotonic() - began < seconds + 30, "cleaning up comes on top; all samples would take 5000 s"
        if process.returncode == 0:  # on a loaded machine the first time may be too short for any sample
            break
    assert process.returncode == 0, text
    assert "node.processes" in text
    assert tasks_of(tmp_path) == []


@pytest.mark.thorough
def test_batches_that_take_too_long_are_made_smaller(tmp_path: Path, scratch: Path) -> None:
    done = probed(written(tmp_path, "Crawling", node={"batch_size": 1000}), 12, "--json")
    assert values(done)["node.batch_size"] < 100
    assert any("no batch of 1000 was done" in note for note in document(done)["notes"])


@pytest.mark.thorough
def test_where_each_process_is_killed_that_is_told(tmp_path: Path, scratch: Path) -> None:
    assert "process 0 died of signal 9 (SIGKILL)" in probed_in_vain(written(tmp_path, "Killed"), 5)


def test_a_sample_longer_than_all_the_time_is_told(tmp_path: Path, scratch: Path) -> None:
    assert "no sample was done within 5 s" in probed_in_vain(written(tmp_path, "Stuck"), 5)


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (
            "tests.example_jobs.toy_jobs:BadSetup",
            "nothing could be measured: ERROR: setup: RuntimeError: no such model",
        ),
        ("tests.example_jobs.toy_jobs:DyingSetup", "nothing could be measured: CRASH: "),
        (
            "probe_jobs:Failing",
            "nothing could be measured: every sample failed, for example: LOAD: ValueError: no such picture",
        ),
    ],
)
def test_a_job_that_cannot_work_is_told_with_kind_and_message(
    tmp_path: Path, scratch: Path, job: str, message: str
) -> None:
    path = written(tmp_path, "Failing")
    path.write_text(path.read_text().replace("probe_jobs:Failing", job))
    assert message in probed_in_vain(path, 40)


def test_samples_that_fail_are_counted_and_compared_with_what_may(tmp_path: Path, scratch: Path) -> None:
    done = probed(written(tmp_path, "Failing", params={"share": 0.2}), 6, "--json")
    notes = " ".join(document(done)["notes"])
    assert re.search(r"\d+ of \d+ samples failed, \d+ of them: LOAD: ValueError: no such picture", notes)
    assert "more than node.max_failed_samples allows" in notes
    assert values(done)["node.batch_size"]


def test_on_slurm_there_are_as_many_array_tasks_as_it_takes(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that takes arrays of 4 elements and 3 jobs of a user's."""
    for name, answer in (("sbatch", ""), ("scontrol", "MaxArraySize = 4\nMaxJobCount = 3\n"), ("squeue", "")):
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f"#!/bin/sh\nprintf '{answer}'\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    path = written(tmp_path, "Crawling", rows=100_000, executor="slurm", node={"batch_size": 1})
    done = probed(path, 6, "--json")
    found, expected = values(done), document(done)["expected"]
    assert (expected["tasks"], found["slurm.array_parallelism"]) == (3, 3)
    assert found["data.shards"] > 3, "the array tasks share them"
    assert parse_time(found["slurm.time"]) > min(expected["wall_seconds"], LONG_TASK)


def test_a_few_samples_give_a_rough_answer(tmp_path: Path, scratch: Path) -> None:
    done = probed(written(tmp_path, "SlowLoad", rows=3), 6, "--json")
    assert values(done)["data.shards"] == 1
    assert any("there are only 3 samples" in note for note in document(done)["notes"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.yaml"], "nothing.yaml: no such file"),
        (["config.yaml", "--seconds", "1"], "--seconds 1: must be a number from 5"),
        (["config.yaml", "--set", "node.batch_size=0"], "node.batch_size"),
        (["config.yaml", "--set", "job.params={speed: 3}"], "job.params.speed: unknown parameter"),
        (["config.yaml", "--set", "data.manifest=nothing.csv"], "nothing.csv: no such file"),
    ],
)
def test_bad_input_is_told_and_leaves_nothing(
    tmp_path: Path, scratch: Path, arguments: list[str], message: str
) -> None:
    written(tmp_path, "SlowLoad", rows=3)
    done = launcher(tmp_path, "probe", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_gives_what_is_known_by_then(tmp_path: Path, scratch: Path) -> None:
    path = written(tmp_path, "SlowLoad")
    process = start(tmp_path, "probe", path.name, "--write")
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "samples/s" in line:
            break
    process.send_signal(signal.SIGINT)
    text = "".join(lines) + process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 130
    assert "node.processes" in text
    assert "interrupted: this is what was known by then" in text
    assert "Traceback" not in text
    assert "slurm" not in json.loads(path.read_text()), "half a probe is not written"
    assert not (tmp_path / "runs").exists()
    wait_until(lambda: tasks_of(tmp_path) == [])


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)])
def test_an_end_before_anything_is_known_leaves_nothing(tmp_path: Path, scratch: Path, number: int) -> None:
    process = start(tmp_path, "probe", written(tmp_path, "Stuck").name)
    wait_until(lambda: list((tmp_path / "runs").glob(".probe-*/001/attempts/*.journal")))
    process.send_signal(number)
    text = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 130, text
    assert "Traceback" not in text
    assert not (tmp_path / "runs").exists()
    assert tasks_of(tmp_path) == []


def test_runs_that_are_there_stay_as_they_are(tmp_path: Path, scratch: Path) -> None:
    path = written(tmp_path, "SlowLoad", rows=40)
    assert launcher(tmp_path, "plan", path.name).returncode == 0
    done = probed(path, 6)
    assert done.returncode == 0, done.stderr
    assert re.search(r"is planned already, and .*data\.shards cannot change in it", done.stdout)


def test_a_failed_sample_is_reported_by_the_measurement() -> None:
    failed = FailedSample(0, SampleFailureKind.LOAD, "no")
    seen = trace([1.0, 2.0])
    seen = replace(seen, commits=(seen.commits[0]._replace(failed=(failed,)), seen.commits[1]))
    assert measure(TrialSettings(1, 0, 10), 0, seen, np.ones(20)).failed == (failed,)
