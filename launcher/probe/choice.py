"""Choice: which of the settings that were measured is worth it. Pure.

What is scarce is a GPU where array tasks have one, else a CPU: the settings within 5% of the best rate for each of them
count as equal, and of those the one that takes least is chosen.
"""

from collections.abc import Iterable, Sequence

from launcher.probe.measurement import Measurement

# Differences below this are noise, or not worth more of anything.
WORTH = 1.05


def choose(measured: Sequence[Measurement]) -> Measurement:
    """The measured settings to take, of those with one batch size.

    With GPUs: the fewest CPUs, then the fewest processes. On CPUs: the fewest processes for a CPU (each holds a copy of
    the model, pool workers do not), then the fewest CPUs, then the fewest workers.
    """
    best = max(found.value for found in measured)
    near = [found for found in measured if found.value * WORTH >= best]
    if any(found.gpus for found in near):
        return min(near, key=lambda found: (found.cpus, found.settings.processes, found.settings.workers))
    return min(near, key=lambda found: (found.settings.processes / found.cpus, found.cpus, found.settings.workers))


def choose_size(measured: Sequence[Measurement]) -> Measurement:
    """The size of batches, or samples in flight, to take, from smaller to larger: the next one as long as it is worth it."""
    chosen, *larger = measured
    for found in larger:
        if found.rate < WORTH * chosen.rate:
            break
        chosen = found
    return chosen


def crowding(chosen: Measurement, measured: Iterable[Measurement]) -> float:
    """How much of its rate for a CPU a task keeps when others work beside it, at most 1.

    Seen from the widest task with as many pool workers, against one like the chosen with the same size of batch.
    """
    like = {
        (found.settings.processes, found.settings.batch_size): found
        for found in measured
        if (found.settings.workers, found.settings.in_flight) == (chosen.settings.workers, chosen.settings.in_flight)
    }
    widest = max(like.values(), key=lambda found: found.cpus, default=chosen)
    alone = like.get((chosen.settings.processes, widest.settings.batch_size), widest)
    return min(1.0, widest.value / alone.value)
