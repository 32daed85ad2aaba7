"""Devices: what a task may use decides what its processes get, without torch."""

import os
import sys
import types

import pytest

from jobs.machine import gpus
from jobs.machine.devices import (
    gpu_groups,
    measured_gpus,
    process_devices,
    threads_for,
    too_few_gpus,
    usable_cpus,
    usable_gpus,
    visible_gpus,
)
from jobs.storage.submission import NodeSettings


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        ("0,1", 2),
        ("", 0),
        ("-1", 0),
        ("0,-1,1", 1),
        ("GPU-8f6a,GPU-12", 2),
        ("GPU-8f6a11c2-0a1f-4c1e-9d2b-0123456789ab", 1),
        ("MIG-GPU-8f6a/1/0", 1),
        ("MIG-8f6a11c2-0a1f-4c1e-9d2b-0123456789ab,MIG-12", 1),
        ("0, 1", 2),
        ("NoDevFiles", 0),
        ("NoDevFiles,", 0),
        ("none", 0),
        ("void", 0),
        ("0,void,1", 1),
        (" ", 0),
        (",0", 0),
        ("gpu", 0),
    ],
)
def test_cuda_visible_devices_names_gpus_up_to_the_first_entry_that_is_none(visible: str, count: int) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": visible}) == count


@pytest.mark.parametrize(
    ("settings", "usable", "devices"),
    [
        (NodeSettings(), (), ("cpu",)),
        (NodeSettings(processes=3), (), ("cpu",) * 3),
        (NodeSettings(), (0, 1), ("cuda:0", "cuda:1")),
        (NodeSettings(), (1, 3), ("cuda:1", "cuda:3")),
        (NodeSettings(processes=4), (0, 1), ("cuda:0", "cuda:1", "cuda:0", "cuda:1")),
        (NodeSettings(devices="cpu"), (0, 1), ("cpu",)),
        (NodeSettings(devices=("cuda:0", "cuda:0", "cpu")), (0,), ("cuda:0", "cuda:0", "cpu")),
        (NodeSettings(devices="cuda"), (), ("cuda:0",)),
        (NodeSettings(devices=("cuda", "cpu")), (0,), ("cuda:0", "cpu")),
    ],
)
def test_processes_get_their_devices_in_turn(
    settings: NodeSettings, usable: tuple[int, ...], devices: tuple[str, ...]
) -> None:
    assert process_devices(settings, usable) == devices


def test_cpus_are_bounded_by_affinity_and_by_slurm() -> None:
    affinity = len(os.sched_getaffinity(0))
    assert 1 <= usable_cpus({}) <= affinity
    assert usable_cpus({"SLURM_CPUS_PER_TASK": "1"}) == 1
    assert usable_cpus({"SLURM_CPUS_PER_TASK": "4096"}) <= affinity
    assert usable_cpus({"LAUNCHER_CPUS": "1"}) == 1


def test_threads_and_pool_workers_together_stay_within_the_cpus() -> None:
    assert threads_for("cpu", 2, 0, 8) == 4
    assert threads_for("cpu", 2, 3, 8) == 1
    assert threads_for("cpu", 1, 2, 8) == 6
    assert threads_for("cpu", 16, 2, 8) == 1
    assert threads_for("cuda:0", 1, 0, 8) == 1


class FakeNvml(types.ModuleType):
    """Stands for pynvml, since a test machine has no NVIDIA driver: GPU 1 is in use."""

    NVMLError = RuntimeError

    def nvmlInit(self) -> None: ...

    def nvmlShutdown(self) -> None: ...

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        return {"GPU-a": 0, "GPU-b": 1}[uuid]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(used=30 if handle == 1 else 1, total=100)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(gpu=[20, 80][handle])

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        return [1500, 2000][handle]


class BusyNvml(FakeNvml):
    """GPUs that take 2 J each time that somebody looks."""

    joules = 1000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        self.joules += 2
        return self.joules * 1000


class FakeMig(FakeNvml):
    """A part of a GPU: NVML tells neither how busy it is nor what it takes."""

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> types.SimpleNamespace:
        raise RuntimeError("Not Supported")

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        raise RuntimeError("Not Supported")


def test_outside_slurm_auto_takes_free_gpus_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml("pynvml"))
    monkeypatch.setattr("jobs.machine.devices.visible_gpus", lambda environment: 3)
    assert usable_gpus(NodeSettings(), {}) == (0, 2)
    assert usable_gpus(NodeSettings(), {"SLURM_JOB_ID": "1"}) == (0, 1, 2)
    assert usable_gpus(NodeSettings(devices="cuda"), {}) == (0, 1, 2)


def test_gpu_use_is_the_mean_over_the_tasks_own_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml("pynvml"))
    assert gpus.look(("0", "GPU-b")) == gpus.GpuLook(0.5, (30, 100), 3.5)
    assert gpus.look(()) is None


def test_gpus_count_as_a_tasks_that_it_was_given_or_that_it_computes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"CUDA_VISIBLE_DEVICES": "4,5,7"}
    inside = {**given, "SLURM_JOB_ID": "1"}
    assert measured_gpus(NodeSettings(), ("cuda:0", "cuda:2", "cpu"), given) == ("4", "7")
    assert measured_gpus(NodeSettings(), ("cpu",), given) == ()
    assert measured_gpus(NodeSettings(), ("cpu",), inside) == ("4", "5", "7")
    assert measured_gpus(NodeSettings(gpus_per_process=3), ("cuda:0",), given) == ("4", "5", "7")


def test_a_part_of_a_gpu_tells_of_its_memory_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeMig("pynvml"))
    assert gpus.look(("0",)) == gpus.GpuLook(None, (1, 100), None)


@pytest.mark.skipif(os.path.exists("/proc/driver/nvidia"), reason="has an NVIDIA driver")
def test_without_a_driver_no_gpu_counts_as_taken_and_no_use_is_known() -> None:
    assert gpus.free(2) == (0, 1)
    assert gpus.look(("0",)) is None


def test_gpus_are_named_as_cuda_visible_devices_has_them() -> None:
    assert gpus.tokens({"CUDA_VISIBLE_DEVICES": "GPU-a, MIG-b,-1"}, 2) == ("GPU-a", "MIG-b")
    assert gpus.tokens({"CUDA_VISIBLE_DEVICES": "2,3"}, 1) == ("2",)
    assert gpus.tokens({"CUDA_VISIBLE_DEVICES": "void"}, 0) == ()
    assert gpus.tokens({}, 2) == ("0", "1")


@pytest.mark.parametrize(
    ("visible", "settings", "groups"),
    [
        ("0,1,2,3", NodeSettings(gpus_per_process=2), (("0", "1"), ("2", "3"))),
        ("GPU-a,GPU-b,5,6", NodeSettings(gpus_per_process=4), (("GPU-a", "GPU-b", "5", "6"),)),
        ("7,3", NodeSettings(gpus_per_process=1, processes=2), (("7",), ("3",))),
        ("0,1,2,3", NodeSettings(gpus_per_process=2, processes=1), (("0", "1"),)),
        ("0,1,2", NodeSettings(gpus_per_process=2), (("0", "1"),)),
        ("0,1", NodeSettings(), ((), ())),
    ],
)
def test_each_process_has_gpus_of_its_own_by_the_names_that_it_is_given(
    visible: str, settings: NodeSettings, groups: tuple[tuple[str, ...], ...]
) -> None:
    environment = {"CUDA_VISIBLE_DEVICES": visible}
    usable = usable_gpus(settings, environment)
    assert gpu_groups(settings, usable, environment) == groups
    if settings.gpus_per_process:
        assert process_devices(settings, usable) == ("cuda:0",) * len(groups)


@pytest.mark.parametrize(
    ("settings", "usable", "needed"),
    [
        (NodeSettings(gpus_per_process=2, processes=3), (0, 1, 2, 3), "4 GPUs: it needs 6, for 3 processes"),
        (NodeSettings(gpus_per_process=2), (0,), "1 GPU: it needs 2, for 1 process"),
        (NodeSettings(gpus_per_process=2), (), "0 GPUs: it needs 2, for 1 process"),
    ],
)
def test_no_two_processes_share_gpus_that_each_has_to_itself(
    settings: NodeSettings, usable: tuple[int, ...], needed: str
) -> None:
    assert too_few_gpus(settings, usable) == f"node.gpus_per_process: 2, and this task has {needed}"
    assert set(gpu_groups(settings, usable, {"CUDA_VISIBLE_DEVICES": ",".join(map(str, usable))})) == {()}
