"""Packing: more processes in an array task: several for each GPU, or as many as there are CPUs for."""

from dataclasses import replace

from launcher.probe.choice import WORTH
from launcher.probe.measurement import Measurement
from launcher.probe.trials import Trials

# Processes for each GPU.
_FOR_EACH = (2, 4, 8)


def pack(trials: Trials, like: Measurement) -> None:
    """Tries ``like`` with more processes. Raises Over where the time is up."""
    if like.gpus:
        _share_gpus(trials, like)
        return
    each = like.cpus // like.settings.processes
    processes = min(trials.cpus // each, _fitting(trials, like))
    if processes > like.settings.processes:
        trials.attempt(replace(like.settings, processes=processes))


def _share_gpus(trials: Trials, like: Measurement) -> None:
    """Twice as many, and twice that, as long as it is worth it; with fewer pool workers each where CPUs are few."""
    best = like
    for each in () if like.settings.gpus_per_process else _FOR_EACH:
        processes = each * len(trials.machine.devices)
        if processes > min(trials.cpus, _fitting(trials, best)):
            return
        workers = min(like.settings.workers, trials.cpus // processes)
        found = trials.attempt(replace(like.settings, processes=processes, workers=workers))
        if found is None or found.value < WORTH * best.value:
            return
        best = found


def _fitting(trials: Trials, like: Measurement) -> int:
    """How many fit into memory: all that is known is what some take together."""
    each = like.peak_memory / like.settings.processes
    return int(trials.memory / each) if each else like.settings.processes
