"""Trials: array tasks on a few samples of a dataset, one after another under settings of their own, within a time limit."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs.errors import RunError
from launcher.config.config import Config
from launcher.config.settings import node_settings
from launcher.plan.plan import Planned
from launcher.probe.machine import Machine
from launcher.probe.measurement import Measurement, is_enough, measure
from launcher.probe.probe_samples import ProbeSamples
from launcher.probe.trial import Trace, TrialSettings, prepare, run_trial

RATE_SHARE = 1 / 15
"""Share of the time: of a rate that can be relied on."""
TRIAL_SHARE = 1 / 5
"""Share of the time: the most that one trial after the first may take for it."""
FIRST_SHARE = 1 / 2
"""Share of the time: a first batch that takes longer is too large to find anything out with."""
_FIRST_ROWS = 2000
# Room left in memory when larger settings are tried.
_MEMORY_SHARE = 0.8
# A task finishes the batches at hand within 8 s when it is asked to leave.
_GRACE = 10.0


class Over(Exception):
    """The time is up, or a person wants it to end."""


class Trials:
    """``measured`` is what all of them told, in their order; ``notes`` are for the user to know. ``seconds``: for all."""

    def __init__(
        self,
        config: Config,
        planned: Planned,
        machine: Machine,
        seconds: float,
        scratch: Path,
        say: Callable[[str], None],
    ) -> None:
        self.plan, self._folder = planned.plan, planned.run.path.parent
        self.node = node_settings(config)
        self.samples = ProbeSamples(planned.run.manifest, planned.plan.rows, config.data.cost)
        self.machine = machine
        self._environment = {**machine.environment, "TMPDIR": str(scratch)}
        self.seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._say = say
        self._count = 0
        self.measured: list[Measurement] = []
        self.notes: list[str] = []
        self._words = ""

    @property
    def cpus(self) -> int:
        return len(self.machine.cpus)

    @property
    def memory(self) -> float:
        """Bytes that a trial is not to be seen to need more of."""
        return _MEMORY_SHARE * self.machine.memory

    def left(self) -> float:
        return self._deadline - time.monotonic()

    def attempt(self, settings: TrialSettings) -> Measurement | None:
        """Raises Over where no time is left for it."""
        if self.left() < self.need(settings):
            raise Over
        return self.measure(settings, self.seconds * TRIAL_SHARE + self.need(settings))

    def need(self, settings: TrialSettings) -> float:
        """Seconds without which a trial tells nothing: start-up, two batches of each lane, and the way out."""
        last = self.measured[-1]
        return (last.startup + 2.5 * settings.batch_size * last.settings.lanes / last.rate) * 4 / 3

    def measure(self, settings: TrialSettings, seconds: float, *, is_first: bool = False) -> Measurement | None:
        """Runs a trial; None where it committed nothing, and a note if that was not for lack of time.

        Raises RunError where the first one fails: then all would.
        """
        rows = self.samples.next(self._row_count(settings))
        self._count += 1
        folder = self._folder / f"{self._count:03d}"
        started = time.monotonic()
        run = prepare(folder, self.plan, settings, self.node, len(rows))
        self.samples.write(rows, run.manifest)
        rate_seconds = self.seconds * RATE_SHARE

        # For leaving in good order a task gets more time than it takes, but not most of what is left.
        last_moment = self._deadline - min(_GRACE, (self._deadline - started) / 4)

        def enough(times: Sequence[float]) -> bool:
            is_late = time.monotonic() > min(started + seconds, last_moment)
            return is_late or is_enough(times, settings, rate_seconds)

        cpus = self.machine.cpus[: settings.cpus]
        trace = run_trial(run, cpus, self._environment, enough, self._deadline)
        self.samples.use(sum(commit.stop - commit.start for commit in trace.commits))
        shutil.rmtree(folder, ignore_errors=True)
        return self._note_trial(settings, trace, rows, is_first)

    def nothing_done(self) -> RunError:
        said = f"; the last words in the log of its array task: {self._words}" if self._words else ""
        return RunError(
            f"no sample was done within {self.seconds:.0f} s, so nothing is known: give it more time, --seconds "
            f"{10 * self.seconds:.0f}; the Job's setup and its first sample have to fit in{said}"
        )

    def _row_count(self, settings: TrialSettings) -> int:
        """Rows that last for the time of a trial, as far as that is known."""
        rate = max((found.rate / found.settings.lanes * settings.lanes for found in self.measured), default=0.0)
        least = max(_FIRST_ROWS, 8 * settings.lanes * settings.batch_size)
        return max(least, int(3 * rate * self.seconds * TRIAL_SHARE))

    def _note_trial(
        self, settings: TrialSettings, trace: Trace, rows: Sequence[int], is_first: bool
    ) -> Measurement | None:
        """Keeps what the trial measured, if it measured something, and notes what went wrong in it."""
        problem, found, self._words = trace.problem, None, trace.words
        # Settings that do not last to the end are none to choose.
        counts = is_first or problem is None
        if counts and any(len(commit.failed) < commit.stop - commit.start for commit in trace.commits):
            found = measure(settings, self.machine.gpus, trace, self.samples.weights(rows))
            self.measured.append(found)
            self._say(f"  {found.describe()}")
        elif problem and is_first and not trace.interrupted:
            raise RunError(f"nothing could be measured: {problem}")
        if problem:
            self.notes.append(f"{settings}: {problem}")
        if trace.interrupted:
            raise KeyboardInterrupt
        return found
