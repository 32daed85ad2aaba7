"""LogMel: log-mel energies of a signal, with numpy alone.

Method: power spectra of windows, summed by triangular filters that stand at equal distances on the mel scale and
overlap by half, mel(f) = 2595 log10(1 + f / 700), as in Young et al., The HTK Book, version 3.4, section 5.4 (filters
linear in mel, as there); then the natural logarithm. Frames begin at 0, hop, 2 hop ... and lie within the signal.
"""

from collections.abc import Iterator

import numpy as np

from jobs.errors import InputError

FLOOR = 1e-10
"""Energies below it count as it, so that silence has a logarithm."""

# Frames are transformed in blocks that stay in a core's cache; an hour of audio then needs little more than its features.
_BLOCK = 512


class LogMel:
    """Calling it turns a signal, float32 [samples], into float32 [frames, mels].

    ``window`` and ``hop`` are numbers of samples. The window is Hann's (periodic), zero-padded to a power of two for the
    Fourier transform. The filters span ``low`` to ``high`` Hz. frames = 1 + (samples - window) // hop.

    Raises InputError where a filter would lie between two frequencies of the transform and catch none.
    """

    def __init__(self, sample_rate: int, mels: int, window: int, hop: int, low: float, high: float) -> None:
        self._hop = hop
        self._size = 1 << (window - 1).bit_length()
        self._window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
        self._filters = mel_filters(np.fft.rfftfreq(self._size, 1 / sample_rate), mels, low, high)
        need_filters(self._filters, window)

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Raises ValueError for a signal shorter than a window."""
        window, mels = len(self._window), len(self._filters)
        need_window(signal, window)
        energies = np.empty((1 + (len(signal) - window) // self._hop, mels), np.float32)
        for start, power in spectra(signal, self._window, self._hop, self._size):
            energies[start : start + _BLOCK] = np.log(np.maximum(power @ self._filters.T, FLOOR))
        return energies


def spectra(signal: np.ndarray, window: np.ndarray, hop: int, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Power float64 [frames, 1 + size // 2] of windows that begin at 0, hop, 2 hop ...; with the first one's number."""
    frames = np.lib.stride_tricks.sliding_window_view(signal, len(window))[::hop]
    for start in range(0, len(frames), _BLOCK):
        found = np.fft.rfft(frames[start : start + _BLOCK] * window, size)
        yield start, found.real**2 + found.imag**2


def mel_filters(frequencies: np.ndarray, mels: int, low: float, high: float) -> np.ndarray:
    """Weights float64 [mels, frequencies] from 0 to 1 of triangles between ``low`` and ``high`` (Hz, like frequencies)."""
    corners = np.linspace(mel(low), mel(high), mels + 2)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    place = mel(frequencies)
    rising, falling = (place - left) / (centre - left), (right - place) / (right - centre)
    return np.asarray(np.maximum(0, np.minimum(rising, falling)))


def mel(frequency: np.ndarray | float) -> np.ndarray:
    """The pitch in mels of a frequency in Hz."""
    return np.asarray(2595 * np.log10(1 + np.asarray(frequency) / 700))


def need_filters(filters: np.ndarray, window: int) -> None:
    """Raises InputError for one that lies between two frequencies of the transform."""
    empty = np.flatnonzero(~filters.any(axis=1))
    if len(empty):
        raise InputError(
            f"job.params: mels: {len(filters)} filters are too narrow for a window of {window} samples, "
            f"number {empty[0] + 1} catches no frequency; valid: fewer mels, a longer window or a higher low"
        )


def need_window(signal: np.ndarray, window: int) -> None:
    """Raises ValueError for a signal that is shorter."""
    if len(signal) < window:
        raise ValueError(f"{len(signal)} samples are less than one window of {window}")
