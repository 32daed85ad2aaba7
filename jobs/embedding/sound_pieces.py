"""SoundPieces: what a model gets of a file: all of it, or a piece for each of its segments; of Whisper's, 30 seconds each.

Pieces of most features are parts of the file's, which may overlap. Whisper's are made of each piece of the signal alone,
since how loud the loudest of it is decides them.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

import numpy as np

from jobs.embedding import whisper
from jobs.embedding.log_mel import need_window
from jobs.inputs import bad_parameter, need_number

Segment: TypeAlias = float | None


class Pieces(NamedTuple):
    """Of a file: ``frames`` float32 [rows, mels], or of a waveform [samples].

    ``spans`` int32 [pieces, 3]: where in these each begins and ends, and how many of its rows are sound; ``starts`` float32
    [pieces]: seconds of the file; ``length``: how many frames, or samples, the file has.
    """

    frames: np.ndarray
    spans: np.ndarray
    starts: np.ndarray
    length: int


SoundPieces: TypeAlias = Callable[[np.ndarray], Pieces]
"""Of a signal float32 [samples]; raises ValueError for one that is shorter than a window."""


class Parts:
    """Pieces of the features of a file; ``per_second`` is how many rows of these a second has."""

    def __init__(
        self, features: Callable[[np.ndarray], np.ndarray], per_second: float, segment: Segment, hop: Segment
    ) -> None:
        self._features, self._per_second = features, per_second
        self._size = _rows("segment", segment, per_second)
        self._hop = _rows("segment_hop", hop, per_second) or self._size

    def __call__(self, signal: np.ndarray) -> Pieces:
        frames = self._features(signal)
        spans = [(start, stop, stop - start) for start, stop in segments(len(frames), self._size, self._hop)]
        return _pieces(frames, spans, (start / self._per_second for start, *_ in spans), len(frames))


class WhisperWindows:
    """Pieces of 3000 frames, a row each; without ``segment`` 30 seconds of the file each, and what is left at its end."""

    def __init__(self, mels: int, segment: Segment, hop: Segment) -> None:
        if segment is not None and segment > whisper.SECONDS:
            raise bad_parameter("segment", segment, f"of features whisper up to {whisper.SECONDS} seconds, or null")
        self._features = whisper.WhisperFeatures(mels)
        self._size = _rows("segment", segment, whisper.RATE)
        self._hop = _rows("segment_hop", hop, whisper.RATE) or self._size

    def __call__(self, signal: np.ndarray) -> Pieces:
        need_window(signal, whisper.WINDOW)
        all_of_it = ((start, start + whisper.SAMPLES) for start in range(0, len(signal), whisper.SAMPLES))
        own = segments(len(signal), self._size, self._hop) if self._size else all_of_it
        windows = [(start, signal[start:stop]) for start, stop in own]
        frames = np.concatenate([self._features(sound) for _, sound in windows])
        ends = [(number + 1) * whisper.FRAMES for number in range(len(windows))]
        sizes = [whisper.sound_frames(len(sound)) for _, sound in windows]
        spans = [(end - whisper.FRAMES, end, size) for end, size in zip(ends, sizes, strict=True)]
        return _pieces(frames, spans, (start / whisper.RATE for start, _ in windows), whisper.sound_frames(len(signal)))


def _rows(name: str, seconds: Segment, per_second: float) -> int:
    """Of a parameter in seconds; 0 of null."""
    return 0 if seconds is None else max(1, round(need_number(name, seconds, "seconds over 0, or null") * per_second))


def _pieces(frames: np.ndarray, spans: list[tuple[int, int, int]], starts: Iterable[float], length: int) -> Pieces:
    return Pieces(frames, np.array(spans, np.int32), np.fromiter(starts, np.float32), length)


def segments(length: int, size: int, hop: int) -> list[tuple[int, int]]:
    """Where the segments of a file of so many rows begin and end; with ``size`` 0 it is one.

    After the last one that is whole comes what is left, if it is half a segment or more, or all there is.
    """
    if not size:
        return [(0, length)]
    found = [(0, min(size, length))]
    while found[-1][1] < length and length - found[-1][0] - hop >= size / 2:
        start = found[-1][0] + hop
        found.append((start, min(start + size, length)))
    return found
