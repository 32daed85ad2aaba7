"""SampleSearch: what is tried of a Job that takes samples one by one: ever more of them in flight, then more processes."""

from launcher.probe.choice import WORTH, choose, choose_size
from launcher.probe.measurement import Measurement, pool
from launcher.probe.packing import pack
from launcher.probe.trial import TrialSettings
from launcher.probe.trials import FIRST_SHARE, Trials

_FIRST, _MOST = 8, 4096
# More samples in flight may have twice the share of failures, or so much.
_FEW_FAILED = 0.01
# Of node.sample_timeout, what the slowest sample may take.
_TIMEOUT_SHARE = 1 / 2


class SampleSearch:
    """``workers`` are the config's: they load while samples are in flight, and how many it takes is not tried."""

    def __init__(self, trials: Trials, workers: int) -> None:
        self._trials, self._workers = trials, workers
        self._sound: list[Measurement] = []

    def run(self) -> None:
        """Raises Over where the time is up, RunError where nothing can be measured."""
        found = self._trials.measure(self._settings(_FIRST), self._trials.seconds * FIRST_SHARE, is_first=True)
        if found is None:
            raise self._trials.nothing_done()
        self._sound.append(found)
        self._more_in_flight()
        pack(self._trials, self.chosen())

    def _settings(self, in_flight: int) -> TrialSettings:
        own = self._trials.node.gpus_per_process or 0
        return TrialSettings(len(self._trials.machine.devices), self._workers, 1, in_flight, own)

    def _more_in_flight(self) -> None:
        """Twice as many, and twice that, while each is worth it."""
        growth, in_flight = 0, 2 * _FIRST
        while in_flight <= _MOST and not self._sound[-1].rough:
            before, settings = self._sound[-1], self._settings(in_flight)
            if 4 * settings.lanes > len(self._trials.samples):
                return
            if before.peak_memory + 2 * growth > self._trials.memory:
                self._trials.notes.append(f"{in_flight} samples in flight were not tried: memory might not do")
                return
            found = self._trials.attempt(settings)
            if found is None or found.rough:
                return
            if problem := self._problem(before, found):
                self._trials.notes.append(problem)
                return
            self._sound.append(found)
            if found.rate < WORTH * before.rate:
                return
            growth, in_flight = max(found.peak_memory - before.peak_memory, 0), 2 * in_flight

    def _problem(self, before: Measurement, found: Measurement) -> str | None:
        """Why no more of them would do, however fast they were."""
        if found.failed_share > max(2 * before.failed_share, _FEW_FAILED):
            return f"{found.settings}: {found.failed_share:.0%} of the samples failed, {before.failed_share:.0%} with fewer"
        timeout = self._trials.node.sample_timeout
        if timeout and found.slowest > _TIMEOUT_SHARE * timeout:
            return f"{found.settings}: a sample took {found.slowest:.0f} s, and node.sample_timeout is {timeout:g} s"
        return None

    def chosen(self) -> Measurement:
        """First among the numbers in flight, then among those of processes."""
        alone = choose_size(self._sound or self._trials.measured[:1])
        size = alone.settings.in_flight
        found = [one for one in pool(self._trials.measured) if one.settings.in_flight == size]
        return choose([one for one in found if one.settings == alone.settings or not self._problem(alone, one)])
