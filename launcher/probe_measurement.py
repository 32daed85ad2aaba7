"""Measurement: what a trial tells of its setting: samples a second, memory, start-up. Made from a Trace. Pure.

The rate is that of a long run: taken between commits, so neither start-up nor the last batches count, for which some
processes and workers have nothing to do any more.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from jobs.storage.records import FailedSample
from launcher.probe_trial import Setting, Trace, output_bytes

# Batches of each lane that a rate is to be made of.
_BATCHES = 3


@dataclass(frozen=True)
class Measurement:
    """``rate`` is samples a second, of mean cost; ``startup`` seconds from nothing to the first batch.

    ``process_seconds`` is what a sample takes of a process, without its loading; ``peak_memory`` (bytes; 0: not known) is
    of all processes of the task; ``output_bytes`` of a sample. ``slowest`` and ``median`` are seconds of a batch, 0 where
    several were worked on at a time. ``rough``: so few batches were done that start-up is part of the rate.
    """

    setting: Setting
    gpus: int
    samples: int
    rate: float
    startup: float
    process_seconds: float
    peak_memory: int
    cpu_use: float | None
    gpu_use: float | None
    output_bytes: float
    failed: tuple[FailedSample, ...] = ()
    slowest: float = 0.0
    median: float = 0.0
    rough: bool = False

    @property
    def cpus(self) -> int:
        return self.setting.lanes

    @property
    def value(self) -> float:
        """Samples a second for what is scarce: a GPU where the task has some, else a CPU."""
        return self.rate / (self.gpus or self.cpus)

    @property
    def load_share(self) -> float:
        """The share of its time that a process without pool workers spends on loading; 0 to 1."""
        return min(max(1 - self.process_seconds * self.rate / self.setting.processes, 0.0), 1.0)


def is_enough(times: Sequence[float], lanes: int, seconds: float) -> bool:
    """Whether commits at these times make a rate: some of each lane, and over so many seconds."""
    return len(times) >= (1 + _BATCHES) * lanes and times[-1] - times[lanes - 1] >= seconds


def measure(setting: Setting, gpus: int, trace: Trace, weights: Sequence[float]) -> Measurement:
    """``weights`` has what each row of the trial costs, in costs of a mean row. The trace has a commit at least."""
    work = [float(sum(weights[commit.start : commit.stop])) for commit in trace.commits]
    times, lanes = trace.times, setting.lanes
    # The lanes begin together, so their first commits come together: they end what was not at full speed.
    first = lanes if len(times) > lanes and times[-1] > times[lanes - 1] else 0
    begun = times[first - 1] if first else 0.0
    # The lanes that run out of batches first wait for the others.
    last = len(times) - (0 if trace.stopped or len(times) < (2 + _BATCHES) * lanes else lanes)
    rate = sum(work[first:last]) / max(times[last - 1] - begun, 1e-6)
    mean_work = sum(work) / len(work)
    gaps = [after - before for before, after in pairwise(times)] if lanes == 1 else []
    end = trace.last.end if trace.last else None
    rows = sum(commit.stop - commit.start for commit in trace.commits)
    return Measurement(
        setting=setting,
        gpus=gpus,
        samples=rows,
        rate=rate,
        startup=max(times[0] - lanes * mean_work / rate, 0.0) if first else 0.0,
        process_seconds=sum(commit.seconds for commit in trace.commits[first:last]) / max(sum(work[first:last]), 1e-9),
        peak_memory=end.peak_memory if end else 0,
        cpu_use=end.cpu_seconds / (end.seconds * setting.lanes) if end and end.seconds else None,
        gpu_use=end.gpu_use if end else None,
        output_bytes=output_bytes(trace) / rows,
        failed=tuple(sample for commit in trace.commits for sample in commit.failed),
        slowest=max(gaps, default=0.0),
        median=statistics.median(gaps) if gaps else 0.0,
        rough=not first,
    )
