"""Documents of commands that try a config, or look at what is there for it."""

from typing import Any, NotRequired

from typing_extensions import TypedDict

from launcher.doctor.settings import Chosen
from launcher.executors import Finding
from launcher.probe.advice import Expected
from launcher.probe.trial import TrialSettings
from launcher.tryout.described import Described


class StageDocument(TypedDict):
    """One step."""

    stage: str
    """constructor, setup, load, collate, process ..."""
    sample: str | None
    seconds: float
    returned: list[Described]
    """what is in what it returned"""
    held_up: NotRequired[float]
    """seconds on end for which a coroutine kept the event loop from all others, over 0.1"""
    error: NotRequired[str]
    traceback: NotRequired[str | None]


class TryDocument(TypedDict):
    """Some samples through a Job, step by step."""

    job: str
    ok: bool
    stages: list[StageDocument]


class MachineDocument(TypedDict):
    """What a probe was made on."""

    host: str
    cpus: list[int]
    """their numbers"""
    devices: list[str]
    visible: str | None
    """CUDA_VISIBLE_DEVICES of its array tasks; null: as it is"""
    memory: int
    """bytes"""
    gpus: int
    gpus_per_process: int
    """0: they are shared"""


class MeasurementDocument(TypedDict):
    """Settings, and what was seen with them."""

    processes: int
    workers: int
    batch_size: int
    in_flight: int | None
    """of Jobs that take samples one by one"""
    gpus_per_process: int
    """0: they are shared"""
    cpus: int
    gpus: int
    samples: int
    rate: float
    """samples a second"""
    startup: float
    """seconds until the first batch"""
    process_seconds: float
    """what a sample takes of a process"""
    peak_memory: int
    """bytes"""
    cpu_use: float | None
    gpu_use: float | None
    output_bytes: float
    """of a sample"""
    failed: int
    slowest: float
    """seconds of a batch; 0: not known"""
    median: float
    """seconds of a batch; 0: not known"""
    rough: bool
    """start-up is part of the rate"""


class RecommendationDocument(TypedDict):
    """A value for a key of the config."""

    key: str
    value: int | str | None
    was: Any
    reason: str


class AdviceDocument(TypedDict):
    """What to set, and what all samples take then."""

    recommendations: list[RecommendationDocument]
    expected: Expected


class ProbeDocument(AdviceDocument):
    """What was tried, and what follows."""

    config: str
    machine: MachineDocument
    interrupted: bool
    measurements: list[MeasurementDocument]
    chosen: TrialSettings
    notes: list[str]
    written: str | None
    """the config, with --write"""


class ExaminationDocument(TypedDict):
    """What doctor has found."""

    ok: bool
    """nothing is missing that is needed"""
    settings: list[Chosen]
    """those that somebody has chosen"""
    profiles: list[str]
    found: dict[str, list[Finding]]
    """by section"""
    missing: list[Finding]
    """the needed first"""


class DoctorDocument(ExaminationDocument):
    """What is in force and what is here."""

    version: str
    config: str | None
