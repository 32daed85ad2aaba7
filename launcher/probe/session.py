"""Session: a few samples of a dataset, run under some settings within a time limit.

Time that is up, and Ctrl-C, end it with what is known by then.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jobs.job import job_class, takes_samples
from jobs.machine.scratch import make_scratch
from jobs.storage.plans import Plan
from launcher.config.config import Config
from launcher.plan.plan import Planned
from launcher.probe.batch_search import BatchSearch
from launcher.probe.machine import Machine
from launcher.probe.measurement import Measurement, pool
from launcher.probe.sample_search import SampleSearch
from launcher.probe.trials import Over, Trials


@dataclass(frozen=True)
class Probed:
    """What was found: ``chosen`` of all that was ``measured``; ``notes`` are for the user to know."""

    plan: Plan
    chosen: Measurement
    measured: tuple[Measurement, ...]
    notes: tuple[str, ...]
    interrupted: bool


def probe(config: Config, planned: Planned, machine: Machine, seconds: float, say: Callable[[str], None]) -> Probed:
    """Tries settings for ``seconds`` at most. Raises RunError, with the reason, where nothing could be measured.

    KeyboardInterrupt where a person ended it before anything was.
    """
    scratch = make_scratch()
    try:
        trials = Trials(config, planned, machine, seconds, scratch, say)
        one_by_one = takes_samples(job_class(planned.plan.job))
        node = config.node
        search = SampleSearch(trials, node.workers) if one_by_one else BatchSearch(trials, node.batch_size)
        return _searched(search, trials)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _searched(search: BatchSearch | SampleSearch, trials: Trials) -> Probed:
    interrupted = False
    try:
        search.run()
    except Over:
        trials.notes.append("the time was up before all settings were tried; --seconds gives it more")
    except KeyboardInterrupt:
        if not trials.measured:
            raise
        interrupted = True
    chosen = search.chosen()
    notes = (*trials.notes, *_warnings(trials, chosen))
    return Probed(trials.plan, chosen, tuple(pool(trials.measured)), notes, interrupted)


def _warnings(trials: Trials, chosen: Measurement) -> Iterator[str]:
    """What in the samples speaks against trusting the figures, or against the run going as well."""
    tried = sum(found.samples for found in trials.measured)
    failed = [sample for found in trials.measured for sample in found.failed]
    if failed:
        (kind, message), count = Counter((sample.kind, sample.message) for sample in failed).most_common(1)[0]
        yield f"{len(failed)} of {tried} samples failed, {count} of them: {kind}: {message}"
        if len(failed) > trials.node.failure_budget(tried):
            yield "that is more than node.max_failed_samples allows, so shards would fail"
    if chosen.rough and chosen.settings.in_flight:
        yield "of so few samples nobody knows how many are best in flight; --seconds gives it more time"
    slowest = max(trials.measured, key=lambda found: found.slowest)
    if slowest.median and slowest.slowest > 10 * slowest.median:
        pieces = "samples" if slowest.settings.in_flight else "batches"
        yield (
            f"samples differ much: of the {pieces} one took {slowest.slowest:.1f} s, half of them at most "
            f"{slowest.median:.1f} s; with a column of costs (data.cost) the shards would be even"
        )
    if chosen.rough:
        yield "only a few batches were done, so the rate is a guess, with the start-up in it"
    if trials.samples.repeated:
        yield "samples were read more than once, from memory perhaps: reading may be slower in the run"
