"""OpenMetrics: runs as metrics for Prometheus and what reads its text, from last beats alone, so it may be asked often.

There is no type that Prometheus's older format does not know: the textfile collector of node_exporter reads that. The names
are a promise: docs/report.md has them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from jobs.kinds import RunState
from jobs.storage.beats import Beat
from jobs.storage.durations import BINS, Durations, upper_edge
from jobs.storage.records import AttemptStart
from launcher.runs.endings import Ending, ending_of
from launcher.status.status import SHARD_STATES, Status

Labels = Mapping[str, str]
_PREFIX = "launcher"
# Of histograms, from 0.1 ms to 1,000 s.
_FIRST_BIN, _LAST_BIN = -4 * BINS - 1, 3 * BINS


@dataclass
class Family:
    """Metrics of one name; each has what follows the name, labels, and a value."""

    name: str
    kind: str
    help: str
    unit: str = ""
    metrics: list[tuple[str, Labels, float]] = field(default_factory=list)

    def add(self, value: float | None, suffix: str = "", **labels: str) -> None:
        if value is not None:
            self.metrics.append((suffix, labels, value))

    def lines(self) -> Iterator[str]:
        """None where nothing is known."""
        if not self.metrics:
            return
        name = f"{_PREFIX}_{self.name}"
        yield f"# TYPE {name} {self.kind}"
        if self.unit:
            yield f"# UNIT {name} {self.unit}"
        yield f"# HELP {name} {self.help}"
        for suffix, labels, value in self.metrics:
            pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            yield f"{name}{suffix}{{{pairs}}} {value:.15g}"


def text_of(statuses: Iterable[Status]) -> str:
    """The metrics of some runs as OpenMetrics text."""
    lines = [line for family in families(statuses) for line in family.lines()]
    return "\n".join([*lines, "# EOF", ""])


def families(statuses: Iterable[Status]) -> Sequence[Family]:
    """Each with the metrics of all these runs."""
    all_of = {one.name: one for one in _empty()}
    for status in statuses:
        run = {"run": status.run.name}
        _add_states(all_of, status, run)
        _add_attempts(all_of, status, run)
        _add_use(all_of, [(one.start, one.beat) for one in status.shards.attempts if one.start], run)
    return list(all_of.values())


def _empty() -> Iterator[Family]:
    yield Family("run_info", "gauge", "What is run, and where; 1.")
    yield Family("run_state", "gauge", "1 for the state in which the run is.")
    yield Family("samples", "gauge", "Samples by state.")
    yield Family("shards", "gauge", "Shards by state.")
    yield Family("failed_samples", "gauge", "Failed samples by kind of failure.")
    yield Family("failed_shards", "gauge", "Failed shards by kind of failure.")
    yield Family("samples_per_second", "gauge", "Rate of the newest submission.")
    yield Family("counted", "counter", "Sums of outputs that the Job counts (Job.counts).")
    yield Family("samples_in_flight", "gauge", "Samples under way, where they are taken one by one.")
    yield Family("remaining_seconds", "gauge", "Until all samples are done, once the rate tells it.", "seconds")
    yield Family("attempts", "gauge", "Starts of array tasks, by how they stand or ended.")
    yield Family("silent_attempts", "gauge", "Attempts that should have written lately.")
    yield Family("stalled_attempts", "gauge", "Attempts that have work and finish nothing.")
    yield Family("last_beat_timestamp_seconds", "gauge", "When an attempt wrote last.", "seconds")
    yield Family("cpu_seconds", "counter", "CPU time of attempts that have ended.", "seconds")
    yield Family("allocated_cpu_seconds", "counter", "CPUs given to attempts, times how long they ran.", "seconds")
    yield Family("allocated_gpu_seconds", "counter", "GPUs given to attempts, times how long they ran.", "seconds")
    yield Family("gpu_energy_joules", "counter", "Energy of the GPUs of attempts that have ended, by NVML.", "joules")
    yield Family("peak_memory_bytes", "gauge", "Most memory that an array task took.", "bytes")
    yield Family("memory_limit_bytes", "gauge", "Memory that an array task may use.", "bytes")
    yield Family("load_seconds", "histogram", "Time in which samples were loaded.", "seconds")
    yield Family("process_seconds", "histogram", "Time in which samples were processed.", "seconds")


def _add_states(all_of: Mapping[str, Family], status: Status, run: Labels) -> None:
    where = {"path": str(status.run.path.absolute()), "executor": status.executor or ""}
    all_of["run_info"].add(1, **run, **where)
    for state in RunState:
        all_of["run_state"].add(state is status.state, **run, state=state)
    for name, count in (("ok", status.ok), ("failed", status.failed), ("missing", status.missing)):
        all_of["samples"].add(count, **run, state=name)
    for shard_state in SHARD_STATES:
        all_of["shards"].add(status.count(shard_state), **run, state=shard_state)
    samples, shards = Counter[str](), Counter[str]()
    for group in status.groups:
        samples[group.kind] += group.samples
        shards[group.kind] += 0 if group.samples else group.shards.count
    for kind in samples:
        name, count = ("failed_samples", samples[kind]) if samples[kind] else ("failed_shards", shards[kind])
        all_of[name].add(count, **run, kind=kind)
    all_of["samples_per_second"].add(status.rate, **run)
    all_of["remaining_seconds"].add(status.eta, **run)
    for name, total in status.counted.sums.items():
        all_of["counted"].add(total, "_total", **run, output=name)
    all_of["samples_in_flight"].add(status.counted.in_flight, **run)


def _add_attempts(all_of: Mapping[str, Family], status: Status, run: Labels) -> None:
    ends = Counter(ending_of(attempt, status.shards.live) for attempt in status.shards.attempts)
    for ending in Ending:
        all_of["attempts"].add(ends[ending], **run, end=ending)
    all_of["silent_attempts"].add(len(status.silent), **run)
    all_of["stalled_attempts"].add(len(status.laggards.stalled), **run)


def _add_use(all_of: Mapping[str, Family], told: Sequence[tuple[AttemptStart, Beat]], run: Labels) -> None:
    beats = [beat for _, beat in told]
    ran = [(start, max(beat.time - start.time, 0.0)) for start, beat in told]
    all_of["last_beat_timestamp_seconds"].add(max((beat.time for beat in beats), default=None), **run)
    all_of["cpu_seconds"].add(sum(beat.cpu_seconds for beat in beats), "_total", **run)
    all_of["allocated_cpu_seconds"].add(sum(start.cpus * seconds for start, seconds in ran), "_total", **run)
    all_of["allocated_gpu_seconds"].add(sum(start.gpus * seconds for start, seconds in ran), "_total", **run)
    joules = [beat.energy for beat in beats if beat.energy is not None]
    all_of["gpu_energy_joules"].add(sum(joules) if joules else None, "_total", **run)
    all_of["peak_memory_bytes"].add(max((max(beat.peak_memory, beat.memory) for beat in beats), default=None), **run)
    all_of["memory_limit_bytes"].add(max((start.memory for start, _ in ran), default=None), **run)
    _add_histogram(all_of["load_seconds"], Durations.sum(beat.load for beat in beats), run)
    _add_histogram(all_of["process_seconds"], Durations.sum(beat.process for beat in beats), run)


def _add_histogram(family: Family, found: Durations, run: Labels) -> None:
    """Always the same buckets: whoever compares two moments needs each in both."""
    if not found.samples:
        return
    for number in range(_FIRST_BIN, _LAST_BIN):
        below = sum(samples for one, samples in found.counts.items() if one <= number)
        family.add(below, "_bucket", **run, le=f"{upper_edge(number):.6g}")
    family.add(found.samples, "_bucket", **run, le="+Inf")
    family.add(found.samples, "_count", **run)
    family.add(found.seconds, "_sum", **run)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
