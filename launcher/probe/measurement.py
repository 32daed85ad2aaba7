"""Measurement: what a trial tells of its settings: samples a second, memory, start-up. Made from a Trace. Pure.

The rate is that of a long run: taken between commits, so neither start-up nor the last batches count, for which some
processes and workers have nothing to do any more.
"""

import statistics
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.storage.records import FailedSample
from launcher.probe.trial import Trace, TrialSettings, output_bytes
from launcher.units import counted, gibibytes

# Batches of each lane that a rate is to be made of.
_BATCHES = 3


@dataclass(frozen=True)
class Measurement:
    """``rate`` is samples a second, of mean cost; ``startup`` seconds from nothing to the first batch.

    ``process_seconds`` is what a sample takes of a process, its loading too where there are no pool workers;
    ``peak_memory`` (bytes) is of all processes of the task; ``output_bytes`` of a sample. ``slowest`` and ``median`` are
    seconds of a batch, 0 where several were worked on at a time; of samples one by one, of a sample. ``rough``: so few
    batches were done that start-up is part of the rate.
    """

    settings: TrialSettings
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
        return self.settings.cpus

    @property
    def failed_share(self) -> float:
        return len(self.failed) / self.samples

    @property
    def value(self) -> float:
        """Samples a second for what is scarce: a GPU where the task has some, else a CPU."""
        return self.rate / (self.gpus or self.cpus)

    @property
    def busy(self) -> float:
        """The share of its time that a process computes, 0 to 1; without pool workers, that it computes or loads."""
        return min(self.process_seconds * self.rate / self.settings.processes, 1.0)

    def describe(self) -> str:
        """In one line."""
        cpus, per = counted(self.cpus, "CPU"), "GPU" if self.gpus else "CPU"
        return (
            f"{self.settings}: {self.rate:,.1f} samples/s on {cpus}, {self.value:,.1f} per {per}; "
            f"{gibibytes(self.peak_memory, 2)}; start-up {self.startup:.1f} s"
        )

    def to_json(self) -> dict[str, Any]:
        """An entry of ``launcher probe --json``; of failed samples their number."""
        data = {key: value for key, value in vars(self).items() if key not in ("settings", "failed")}
        return {**asdict(self.settings), "cpus": self.cpus, **data, "failed": len(self.failed)}


def is_enough(times: Sequence[float], settings: TrialSettings, seconds: float) -> bool:
    """Whether commits at these times make a rate: some of each lane, and over so many seconds."""
    lanes, rounds = settings.lanes, 1 if settings.in_flight else _BATCHES
    return len(times) >= (1 + rounds) * lanes and times[-1] - times[lanes - 1] >= seconds


def measure(settings: TrialSettings, gpus: int, trace: Trace, weights: npt.NDArray[np.float64]) -> Measurement:
    """``weights`` has what each row of the trial costs, in costs of a mean row: float64 [rows].

    The trace has a commit at least.
    """
    work = [float(weights[commit.start : commit.stop].sum()) for commit in trace.commits]
    times, lanes = trace.times, settings.lanes
    first, last = _counted_samples(trace, lanes) if settings.in_flight else _counted_batches(trace, lanes)
    begun = times[first - 1] if first else 0.0
    rate = sum(work[first:last]) / max(times[last - 1] - begun, 1e-6)
    mean_work = sum(work) / len(work)
    each = _seconds_each(settings, trace)
    beat = trace.last
    rows = sum(commit.stop - commit.start for commit in trace.commits)
    return Measurement(
        settings=settings,
        gpus=gpus,
        samples=rows,
        rate=rate,
        startup=max(times[0] - lanes * mean_work / rate, 0.0) if first else 0.0,
        process_seconds=sum(commit.seconds for commit in trace.commits[first:last]) / max(sum(work[first:last]), 1e-9),
        peak_memory=max(trace.peak_memory, beat.peak_memory if beat else 0),
        cpu_use=beat.cpu_seconds / (beat.seconds * settings.cpus) if beat and beat.seconds else None,
        gpu_use=beat.gpu_use if beat else None,
        output_bytes=output_bytes(trace) / rows,
        failed=tuple(sample for commit in trace.commits for sample in commit.failed),
        slowest=max(each, default=0.0),
        median=statistics.median(each) if each else 0.0,
        rough=not first,
    )


def _counted_batches(trace: Trace, lanes: int) -> tuple[int, int]:
    """Which commits a rate is made of, and after which it begins; 0: none, it begins with the task."""
    times = trace.times
    # The lanes begin together, so their first commits come together: they end what was not at full speed.
    first = lanes if len(times) > lanes and times[-1] > times[lanes - 1] else 0
    # Whole rounds of the lanes, for they may go in step; without the last one, in which some have nothing to do any more.
    rounds = len(times) // lanes - (0 if trace.stopped or len(times) < (2 + _BATCHES) * lanes else 1)
    return first, rounds * lanes if rounds > 1 else len(times)


def _counted_samples(trace: Trace, lanes: int) -> tuple[int, int]:
    """The same of samples one by one, whose commits come many at a time: from one such moment to another.

    Those in flight at the start, and at the end of all work, are not at full speed.
    """
    times = trace.times
    if len(times) <= lanes:
        return 0, len(times)
    first = bisect_right(times, times[lanes - 1])
    last = len(times) if trace.stopped else bisect_right(times, times[-1 - lanes])
    return (first, last) if last > first else (0, len(times))


def _seconds_each(settings: TrialSettings, trace: Trace) -> list[float]:
    if settings.in_flight:
        return [commit.seconds for commit in trace.commits]
    return [after - before for before, after in pairwise(trace.times)] if settings.lanes == 1 else []


def pool(measured: Iterable[Measurement]) -> list[Measurement]:
    """One measurement of each TrialSettings, in the order of their first ones: rates are averaged, the rest is the most."""
    found: dict[TrialSettings, Measurement] = {}
    for one in measured:
        before = found.get(one.settings)
        if before is None:
            found[one.settings] = one
            continue
        samples = before.samples + one.samples
        found[one.settings] = replace(
            before,
            samples=samples,
            rate=samples / (before.samples / before.rate + one.samples / one.rate),
            startup=max(before.startup, one.startup),
            process_seconds=(before.process_seconds * before.samples + one.process_seconds * one.samples) / samples,
            peak_memory=max(before.peak_memory, one.peak_memory),
            failed=(*before.failed, *one.failed),
            slowest=max(before.slowest, one.slowest),
            median=max(before.median, one.median),
            rough=before.rough and one.rough,
        )
    return list(found.values())
