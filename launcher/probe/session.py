"""Session: a few samples of a dataset, run under some settings within a time limit.

Settings are tried in the order of what they tell: one process that loads its own samples, pool workers as long as it has
time for what they load, the whole machine, larger batches. Time that is up, and Ctrl-C, end it with what is known by then.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import InputError, RunError
from jobs.job import job_class, takes_samples
from jobs.machine.scratch import make_scratch
from jobs.storage.plans import Plan
from launcher.config.config import Config
from launcher.config.settings import node_settings
from launcher.plan.plan import Planned
from launcher.probe.choice import WORTH, choose, choose_batch
from launcher.probe.machine import Machine
from launcher.probe.measurement import Measurement, is_enough, measure, pool
from launcher.probe.probe_samples import ProbeSamples
from launcher.probe.trial import Trace, TrialSettings, prepare, run_trial

# Shares of the time: of a rate that can be relied on, and the most that one trial after the first may take for it.
_RATE_SHARE = 1 / 15
_TRIAL_SHARE = 1 / 5
# A first batch that takes longer is too large to find anything out with.
_FIRST_SHARE = 1 / 2
_FIRST_ROWS = 2000
# Pool workers of a process at most: beyond, tasks become large, and the process has no time left to take what they load.
_MOST_WORKERS = 8
# A task finishes the batches at hand within 8 s when it is asked to leave.
_GRACE = 10.0
# Settings that came this close to the best are worth a second look, if there is time: neighbours may have disturbed them.
_CLOSE = 0.8
# Room left in memory when larger settings are tried.
_MEMORY_SHARE = 0.8


@dataclass(frozen=True)
class Probed:
    """What was found: ``chosen`` of all that was ``measured``; ``notes`` are for the user to know."""

    plan: Plan
    chosen: Measurement
    measured: tuple[Measurement, ...]
    notes: tuple[str, ...]
    interrupted: bool


class _Over(Exception):
    """The time is up, or a person wants it to end."""


def probe(config: Config, planned: Planned, machine: Machine, seconds: float, say: Callable[[str], None]) -> Probed:
    """Tries settings for ``seconds`` at most. Raises RunError, with the reason, where nothing could be measured.

    KeyboardInterrupt where a person ended it before anything was.
    """
    if takes_samples(job_class(planned.plan.job)):
        raise InputError(
            f"job.class: {planned.plan.job.path} takes samples one by one (process_sample), and probe measures batches: "
            "compare a few values of node.in_flight by runs over some of the samples"
        )
    scratch = make_scratch()
    try:
        return _Prober(config, planned, machine, seconds, scratch, say).run()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Prober:
    def __init__(
        self,
        config: Config,
        planned: Planned,
        machine: Machine,
        seconds: float,
        scratch: Path,
        say: Callable[[str], None],
    ) -> None:
        self._plan, self._folder = planned.plan, planned.run.path.parent
        self._node = node_settings(config)
        self._samples = ProbeSamples(planned.run.manifest, planned.plan.rows, config.data.cost)
        self._machine = machine
        self._environment = {**machine.environment, "TMPDIR": str(scratch)}
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._say = say
        self._base = len(machine.devices)
        self._batch_size = config.node.batch_size
        self._trials = 0
        self._measured: list[Measurement] = []
        self._notes: list[str] = []

    def run(self) -> Probed:
        interrupted = False
        try:
            self._first()
            self._more_workers()
            self._all_cpus()
            self._larger_batches()
            self._close_ones_again()
        except _Over:
            self._notes.append("the time was up before all settings were tried; --seconds gives it more")
        except KeyboardInterrupt:
            if not self._measured:
                raise
            interrupted = True
        chosen = self._chosen()
        self._notes += self._warnings(chosen)
        return Probed(self._plan, chosen, tuple(pool(self._measured)), tuple(self._notes), interrupted)

    # --- what is tried

    def _first(self) -> None:
        """One process for each device, without workers; in batches of one sample where the config's take too long."""
        if self._plan.rows < 4 * self._batch_size:
            self._notes.append(f"there are only {self._plan.rows} samples: too few to tell much")
        seconds = self._seconds * _FIRST_SHARE
        found = self._measure(TrialSettings(self._base, 0, self._batch_size), seconds, is_first=True)
        if found is None and self._batch_size > 1:
            self._notes.append(
                f"no batch of {self._batch_size} was done within {seconds:.0f} s, so smaller ones were measured"
            )
            found = self._measure(TrialSettings(self._base, 0, 1), self._left(), is_first=True)
            self._batch_size = 1 if found is None else max(1, int(self._seconds * _RATE_SHARE * found.rate))
            if self._batch_size > 1:
                self._try(TrialSettings(self._base, 0, self._batch_size))
        if found is None:
            raise RunError(
                f"no sample was done within {self._seconds:.0f} s, so nothing is known: give it more time, --seconds "
                f"{10 * self._seconds:.0f}; the Job's setup and its first sample have to fit in"
            )
        if found.rate * self._seconds * _RATE_SHARE > found.samples and len(self._samples) > 2 * found.samples:
            again = self._measure(found.settings, self._seconds * _TRIAL_SHARE)
            self._measured = [again] if again else [found]

    def _more_workers(self) -> None:
        """As long as processes have time left to take what more of them would load, and they bring something."""
        best = self._measured[-1].value
        for workers in (1, 2, 4, _MOST_WORKERS):
            settings = TrialSettings(self._base, workers, self._batch_size)
            if settings.lanes > len(self._machine.cpus):
                return
            found = self._try(settings)
            if found is None or found.busy * WORTH > 1 or found.value * WORTH < best:
                return
            if found.gpus and workers > 1 and found.value < WORTH * best:
                return
            best = max(best, found.value)

    def _all_cpus(self) -> None:
        """As many processes as the CPUs allow, or two for each GPU."""
        like = choose(self._measured)
        lanes = max(like.settings.workers, 1)
        most = len(self._machine.cpus) // (lanes * self._base) * self._base
        # As many as fit into memory: all that is known is what some take together.
        each = like.peak_memory / like.settings.processes
        fitting = int(_MEMORY_SHARE * self._machine.memory / each) if each else like.settings.processes
        processes = min(most, 2 * self._base if like.gpus else fitting)
        if processes > like.settings.processes:
            self._try(TrialSettings(processes, like.settings.workers, self._batch_size))

    def _larger_batches(self) -> None:
        """Twice the size, and twice that, as long as it is worth it."""
        before = self._chosen()
        for factor in (2, 4, 8, 16):
            settings = TrialSettings(*_shape(before), factor * self._batch_size)
            rows_are_few = settings.batch_size * settings.lanes * 4 > len(self._samples)
            if rows_are_few or 2 * before.peak_memory > _MEMORY_SHARE * self._machine.memory:
                return
            found = self._try(settings)
            if found is None or found.rate < WORTH * before.rate:
                return
            before = found

    def _close_ones_again(self) -> None:
        """Once more what was nearly as good as the best, and all CPUs together, which tells how they slow each other down.

        The first ones come last, since they had cold caches.
        """
        best = max(found.value for found in self._measured)
        most = len(self._machine.cpus)
        close = [m.settings for m in pool(self._measured) if m.value > _CLOSE * best or m.cpus == most]
        for settings in reversed(close if len(close) > 1 else []):
            if self._left() > self._need(settings):
                self._try(settings)

    def _chosen(self) -> Measurement:
        """First among settings with the same size of batch, then among the sizes."""
        pooled = pool(self._measured)
        same = [found for found in pooled if found.settings.batch_size == self._batch_size]
        shape = _shape(choose(same or pooled))
        sizes = [found for found in pooled if _shape(found) == shape]
        return choose_batch(sorted(sizes, key=lambda found: found.settings.batch_size))

    # --- one trial

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _try(self, settings: TrialSettings) -> Measurement | None:
        """Raises _Over where no time is left for it."""
        if self._left() < self._need(settings):
            raise _Over
        return self._measure(settings, self._seconds * _TRIAL_SHARE + self._need(settings))

    def _need(self, settings: TrialSettings) -> float:
        """Seconds without which a trial tells nothing: start-up, two batches of each lane, and the way out."""
        last = self._measured[-1]
        return (last.startup + 2.5 * settings.batch_size * last.cpus / last.rate) * 4 / 3

    def _measure(self, settings: TrialSettings, seconds: float, *, is_first: bool = False) -> Measurement | None:
        """Runs a trial; None where it committed nothing, and a note if that was not for lack of time.

        Raises RunError where the first one fails: then all would.
        """
        rows = self._samples.next(self._row_count(settings))
        self._trials += 1
        folder = self._folder / f"{self._trials:03d}"
        started = time.monotonic()
        run = prepare(folder, self._plan, settings, self._node, len(rows))
        self._samples.write(rows, run.manifest)
        rate_seconds = self._seconds * _RATE_SHARE

        # For leaving in good order a task gets more time than it takes, but not most of what is left.
        last_moment = self._deadline - min(_GRACE, (self._deadline - started) / 4)

        def enough(times: Sequence[float]) -> bool:
            is_late = time.monotonic() > min(started + seconds, last_moment)
            return is_late or is_enough(times, settings.lanes, rate_seconds)

        cpus = self._machine.cpus[: settings.lanes]
        trace = run_trial(run, cpus, self._environment, enough, self._deadline)
        self._samples.use(sum(commit.stop - commit.start for commit in trace.commits))
        shutil.rmtree(folder, ignore_errors=True)
        return self._note_trial(settings, trace, rows, is_first)

    def _row_count(self, settings: TrialSettings) -> int:
        """Rows that last for the time of a trial, as far as that is known."""
        rate = max((found.value * settings.lanes for found in self._measured), default=0.0)
        least = max(_FIRST_ROWS, 8 * settings.lanes * settings.batch_size)
        return max(least, int(3 * rate * self._seconds * _TRIAL_SHARE))

    def _note_trial(
        self, settings: TrialSettings, trace: Trace, rows: Sequence[int], is_first: bool
    ) -> Measurement | None:
        """Keeps what the trial measured, if it measured something, and notes what went wrong in it."""
        problem, found = trace.problem, None
        # Settings that do not last to the end are none to choose.
        counts = is_first or problem is None
        if counts and any(len(commit.failed) < commit.stop - commit.start for commit in trace.commits):
            found = measure(settings, self._machine.gpus, trace, self._samples.weights(rows))
            self._measured.append(found)
            self._say(f"  {found.describe()}")
        elif problem and is_first and not trace.interrupted:
            raise RunError(f"nothing could be measured: {problem}")
        if problem:
            self._notes.append(f"{settings}: {problem}")
        if trace.interrupted:
            raise KeyboardInterrupt
        return found

    # --- the end

    def _warnings(self, chosen: Measurement) -> Iterator[str]:
        """What in the samples speaks against trusting the figures, or against the run going as well."""
        tried = sum(found.samples for found in self._measured)
        failed = [sample for found in self._measured for sample in found.failed]
        if failed:
            (kind, message), count = Counter((sample.kind, sample.message) for sample in failed).most_common(1)[0]
            yield f"{len(failed)} of {tried} samples failed, {count} of them: {kind}: {message}"
            if len(failed) > self._node.failure_budget(tried):
                yield "that is more than node.max_failed_samples allows, so shards would fail"
        slowest = max(self._measured, key=lambda found: found.slowest)
        if slowest.median and slowest.slowest > 10 * slowest.median:
            yield (
                f"samples differ much: of the batches one took {slowest.slowest:.1f} s, half of them at most "
                f"{slowest.median:.1f} s; with a column of costs (data.cost) the shards would be even"
            )
        if chosen.rough:
            yield "only a few batches were done, so the rate is a guess, with the start-up in it"
        if self._samples.repeated:
            yield "samples were read more than once, from memory perhaps: reading may be slower in the run"


def _shape(found: Measurement) -> tuple[int, int]:
    return found.settings.processes, found.settings.workers
