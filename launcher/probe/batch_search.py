"""BatchSearch: what is tried of a Job that processes batches, in the order of what it tells.

One process that loads its own samples, pool workers as long as it has time for what they load, more processes, larger batches.
"""

from dataclasses import replace

from launcher.probe.choice import WORTH, choose, choose_size
from launcher.probe.measurement import Measurement, pool
from launcher.probe.packing import pack
from launcher.probe.trial import TrialSettings
from launcher.probe.trials import FIRST_SHARE, RATE_SHARE, TRIAL_SHARE, Trials

# Pool workers of a process at most: beyond, tasks become large, and the process has no time left to take what they load.
_MOST_WORKERS = 8
# Settings that came this close to the best are worth a second look, if there is time: neighbours may have disturbed them.
_CLOSE = 0.8


class BatchSearch:
    """``batch_size`` is the config's."""

    def __init__(self, trials: Trials, batch_size: int) -> None:
        self._trials, self._batch_size = trials, batch_size
        self._base = len(trials.machine.devices)

    def run(self) -> None:
        """Raises Over where the time is up, RunError where nothing can be measured."""
        self._first()
        self._more_workers()
        pack(self._trials, choose(self._trials.measured))
        self._larger_batches()
        self._close_ones_again()

    def _settings(self, workers: int, batch_size: int) -> TrialSettings:
        own = self._trials.node.gpus_per_process or 0
        return TrialSettings(self._base, workers, batch_size, gpus_per_process=own)

    def _first(self) -> None:
        """One process for each device, without workers; in batches of one sample where the config's take too long."""
        trials = self._trials
        if trials.plan.rows < 4 * self._batch_size:
            trials.notes.append(f"there are only {trials.plan.rows} samples: too few to tell much")
        seconds = trials.seconds * FIRST_SHARE
        found = trials.measure(self._settings(0, self._batch_size), seconds, is_first=True)
        if found is None and self._batch_size > 1:
            trials.notes.append(
                f"no batch of {self._batch_size} was done within {seconds:.0f} s, so smaller ones were measured"
            )
            found = trials.measure(self._settings(0, 1), trials.left(), is_first=True)
            self._batch_size = 1 if found is None else max(1, int(trials.seconds * RATE_SHARE * found.rate))
            if self._batch_size > 1:
                trials.attempt(self._settings(0, self._batch_size))
        if found is None:
            raise trials.nothing_done()
        if found.rate * trials.seconds * RATE_SHARE > found.samples and len(trials.samples) > 2 * found.samples:
            again = trials.measure(found.settings, trials.seconds * TRIAL_SHARE)
            trials.measured = [again] if again else [found]

    def _more_workers(self) -> None:
        """As long as processes have time left to take what more of them would load, and they bring something."""
        best = self._trials.measured[-1].value
        for workers in (1, 2, 4, _MOST_WORKERS):
            settings = self._settings(workers, self._batch_size)
            if settings.cpus > self._trials.cpus:
                return
            found = self._trials.attempt(settings)
            if found is None or found.busy * WORTH > 1 or found.value * WORTH < best:
                return
            if found.gpus and workers > 1 and found.value < WORTH * best:
                return
            best = max(best, found.value)

    def _larger_batches(self) -> None:
        """Twice the size, and twice that, as long as it is worth it."""
        before = self.chosen()
        for factor in (2, 4, 8, 16):
            settings = replace(before.settings, batch_size=factor * self._batch_size)
            rows_are_few = settings.batch_size * settings.lanes * 4 > len(self._trials.samples)
            if rows_are_few or 2 * before.peak_memory > self._trials.memory:
                return
            found = self._trials.attempt(settings)
            if found is None or found.rate < WORTH * before.rate:
                return
            before = found

    def _close_ones_again(self) -> None:
        """Once more what was nearly as good as the best, and all CPUs together, which tells how they slow each other down.

        The first ones come last, since they had cold caches.
        """
        best = max(found.value for found in self._trials.measured)
        most = self._trials.cpus
        close = [m.settings for m in pool(self._trials.measured) if m.value > _CLOSE * best or m.cpus == most]
        for settings in reversed(close if len(close) > 1 else []):
            if self._trials.left() > self._trials.need(settings):
                self._trials.attempt(settings)

    def chosen(self) -> Measurement:
        """First among settings with the same size of batch, then among the sizes."""
        pooled = pool(self._trials.measured)
        same = [found for found in pooled if found.settings.batch_size == self._batch_size]
        shape = _shape(choose(same or pooled))
        sizes = [found for found in pooled if _shape(found) == shape]
        return choose_size(sorted(sizes, key=lambda found: found.settings.batch_size))


def _shape(found: Measurement) -> tuple[int, int]:
    return found.settings.processes, found.settings.workers
