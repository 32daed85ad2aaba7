"""WhisperFeatures: log-mel energies of 30 seconds as Whisper was trained with them, with numpy alone.

Method: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, https://arxiv.org/abs/2212.04356, section
2.2, and its code: a signal is padded with silence to 30 seconds; power spectra of Hann windows of 400 samples, the middle
of each at 0, 160, 320 ..., with the signal mirrored at its ends; triangular filters of Slaney's Auditory Toolbox, of equal
area; log10; what is more than 80 dB below the loudest counts as that; then (x + 4) / 4.
"""

import numpy as np

from jobs.embedding.log_mel import FLOOR, need_filters, spectra

RATE, WINDOW, HOP = 16_000, 400, 160
SECONDS = 30
SAMPLES = SECONDS * RATE
FRAMES = SAMPLES // HOP
"""Of every signal: the model takes no other number."""

_RANGE = 8.0  # of log10 of power, which is 80 dB


class WhisperFeatures:
    """Calling it turns a signal, float32 [samples] of 16 kHz, 30 seconds at most, into float32 [3000, mels]."""

    def __init__(self, mels: int) -> None:
        self._window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
        self._filters = slaney_filters(np.fft.rfftfreq(WINDOW, 1 / RATE), mels)
        need_filters(self._filters, WINDOW)

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        # Frames that no sound reaches are silence, of which the energies are known.
        whole = np.pad(signal, (0, min(SAMPLES - len(signal), 2 * WINDOW)))
        edges = np.pad(whole, WINDOW // 2, mode="reflect")
        energies = np.full((FRAMES, len(self._filters)), np.log10(FLOOR), np.float32)
        for start, power in spectra(edges, self._window, HOP, WINDOW):
            own = energies[start : start + len(power)]  # one frame more than 3000 ends at the last sample
            own[:] = np.log10(np.maximum(power[: len(own)] @ self._filters.T, FLOOR))
        return np.asarray((np.maximum(energies, energies.max() - _RANGE) + 4) / 4)


def sound_frames(samples: int) -> int:
    """How many of the frames begin within a signal of so many samples."""
    return -(-samples // HOP)


def slaney_filters(frequencies: np.ndarray, mels: int) -> np.ndarray:
    """Weights float64 [mels, frequencies] of triangles from 0 to 8000 Hz, which is what the frequencies are in."""
    top = _mel(np.array(RATE / 2))
    corners = _hertz(np.linspace(0, top, mels + 2))[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    return np.asarray(np.maximum(0, np.minimum(rising, falling)) * 2 / (right - left))


# Slaney's scale: 15 mels to 1000 Hz, and from there 27 mels to 6.4 times the frequency.
_KNEE, _LINEAR, _STEP = 1000.0, 200 / 3, np.log(6.4) / 27


def _mel(frequency: np.ndarray) -> np.ndarray:
    above = _KNEE / _LINEAR + np.log(np.maximum(frequency, _KNEE) / _KNEE) / _STEP
    return np.where(frequency < _KNEE, frequency / _LINEAR, above)


def _hertz(mel: np.ndarray) -> np.ndarray:
    above = mel - _KNEE / _LINEAR
    return np.where(above < 0, mel * _LINEAR, _KNEE * np.exp(np.maximum(above, 0) * _STEP))
