"""Progression: samples a second, attempts at work and memory over the time of a run. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from launcher.runs.history import History

STEPS = 200


@dataclass(frozen=True)
class Progression:
    """In ``STEPS`` steps of equal length; ``times`` are where they begin, seconds. ``memory``: of the attempt that had most."""

    times: Sequence[float]
    step: float
    rates: Sequence[float]
    at_work: Sequence[float]
    memory: Sequence[int]


def progression(histories: Sequence[History], begin: float, end: float) -> Progression | None:
    """Of all attempts together, from when the first began until one was heard of last; None where none has got anywhere."""
    if end <= begin:
        return None
    edges = np.linspace(begin, end, STEPS + 1)
    done, at_work, memory = np.zeros(STEPS + 1), np.zeros(STEPS), np.zeros(STEPS, np.int64)
    for history in histories:
        times, samples = zip(*history.points, strict=True)
        # What others have written since does not count; and times of one clock may be equal.
        done += np.interp(edges, np.maximum.accumulate(times), samples)
        at_work += _overlap(edges, history.begin, history.end)
        _note_memory(memory, edges, history)
    step = float(edges[1] - edges[0])
    rates = np.diff(done) / step
    return Progression(edges[:-1].tolist(), step, rates.tolist(), at_work.tolist(), memory.tolist())


def _overlap(edges: np.ndarray, begin: float, end: float) -> np.ndarray:
    """The share of each step that lies in a span of time."""
    inside = np.minimum(edges[1:], end) - np.maximum(edges[:-1], begin)
    overlap: np.ndarray = np.clip(inside, 0, None) / (edges[1] - edges[0])
    return overlap


def _note_memory(memory: np.ndarray, edges: np.ndarray, history: History) -> None:
    """Between beats it is taken to have grown, or shrunk, evenly."""
    known = [(beat.time, beat.memory) for beat in history.beats if beat.memory]
    if known:
        times, sizes = zip((history.begin, 0), *known, strict=True)
        own = np.interp(edges[:-1], np.maximum.accumulate(times), sizes, left=0, right=0)
        np.maximum(memory, own.astype(np.int64), out=memory)
