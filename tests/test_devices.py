"""Devices: what a task may use decides what its processes get, without torch."""

import os

import pytest

from jobs.node.devices import process_devices, threads_for, usable_cpus, visible_gpus
from jobs.storage.plans import NodeSettings


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        ("0,1", 2),
        ("", 0),
        ("-1", 0),
        ("0,-1,1", 1),
        ("GPU-8f6a,GPU-12", 2),
        ("MIG-GPU-8f6a/1/0", 1),
        ("NoDevFiles,", 1),
    ],
)
def test_cuda_visible_devices_holds_opaque_entries(visible, count):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": visible}) == count


@pytest.mark.parametrize(
    ("settings", "gpus", "devices"),
    [
        (NodeSettings(), 0, ("cpu",)),
        (NodeSettings(processes=3), 0, ("cpu",) * 3),
        (NodeSettings(), 2, ("cuda:0", "cuda:1")),
        (NodeSettings(processes=4), 2, ("cuda:0", "cuda:1", "cuda:0", "cuda:1")),
        (NodeSettings(devices="cpu"), 2, ("cpu",)),
        (NodeSettings(devices=("cuda:0", "cuda:0", "cpu")), 1, ("cuda:0", "cuda:0", "cpu")),
        (NodeSettings(devices="cuda"), 0, ("cuda:0",)),
    ],
)
def test_processes_get_their_devices_in_turn(settings, gpus, devices):
    assert process_devices(settings, gpus) == devices


def test_cpus_are_bounded_by_affinity_and_by_slurm():
    affinity = len(os.sched_getaffinity(0))
    assert 1 <= usable_cpus({}) <= affinity
    assert usable_cpus({"SLURM_CPUS_PER_TASK": "1"}) == 1
    assert usable_cpus({"SLURM_CPUS_PER_TASK": "4096"}) <= affinity


def test_cpu_processes_share_the_cpus_and_gpu_processes_take_one_thread():
    assert [threads_for("cpu", 2, 8), threads_for("cpu", 16, 8), threads_for("cuda:0", 1, 8)] == [4, 1, 1]
