"""SoundFeatures: what a model gets of a signal: log-mel energies, Kaldi's filter banks, Whisper's, or the signal itself.

A table of names, as a config has them; each is a function of a signal, float32 [samples], that raises ValueError for one
that is shorter than a window.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from jobs.embedding.kaldi_fbank import KaldiFbank
from jobs.embedding.log_mel import LogMel, need_window
from jobs.embedding.sound_pieces import Parts, Segment, SoundPieces, WhisperWindows
from jobs.embedding.whisper import RATE
from jobs.errors import InputError
from jobs.inputs import bad_parameter, need_number, need_packages, need_whole

FeatureName: TypeAlias = Literal["log_mel", "kaldi", "waveform", "whisper"]
SoundFeatures: TypeAlias = Callable[[np.ndarray], np.ndarray]

_WHISPER = "16000 samples per second, and the default of window, hop, low and high, as Whisper was trained"


@dataclass(frozen=True)
class Filters:
    """Where the filters are: ``window`` and ``hop`` in samples, ``low`` and ``high`` in Hz."""

    sample_rate: int
    mels: int
    window: int
    hop: int
    low: float
    high: float

    @classmethod
    def checked(cls, rate: int, mels: int, window: float, hop: float, low: float, high: float | None) -> "Filters":
        """Of parameters, in which lengths are seconds; raises InputError for those that cannot work."""
        need_whole("mels", mels, "a number of filters")
        nyquist = rate / 2
        top = need_number("high", nyquist if high is None else high, f"Hz up to {nyquist:g}, or null", most=nyquist)
        need_number("low", low, f"Hz from 0 to less than high, {top:g}", above=-1e-9, most=top * 0.999)
        lengths = {}
        for name, seconds in (("window", window), ("hop", hop)):
            lengths[name] = round(need_number(name, seconds, "seconds", most=10.0) * rate)
            if lengths[name] < 1:
                raise bad_parameter(name, seconds, f"seconds, one sample at least: {1 / rate:g}")
        return cls(rate, mels, lengths["window"], lengths["hop"], low, top)


def sound_pieces(
    name: FeatureName, filters: Filters, kaldi: Mapping[str, Any] | None, segment: Segment, hop: Segment
) -> SoundPieces:
    """Those of the features of that name, of ``segment`` seconds each, ``hop`` from one to the next. Raises InputError."""
    if name == "whisper" and not kaldi:
        if filters != Filters.checked(RATE, filters.mels, 0.025, 0.01, 20.0, None):
            raise bad_parameter("features", name, _WHISPER)
        return WhisperWindows(filters.mels, segment, hop)
    features = sound_features(name, filters, kaldi)
    per_second = filters.sample_rate / (1 if name == "waveform" else filters.hop)
    return Parts(features, per_second, segment, hop)


def sound_features(name: FeatureName, filters: Filters, kaldi: Mapping[str, Any] | None) -> SoundFeatures:
    """The features of that name; ``kaldi`` are more arguments of KaldiFbank. Raises InputError."""
    if kaldi and name != "kaldi":
        raise bad_parameter("kaldi", dict(kaldi), "null, or with `features: kaldi`")
    match name:
        case "log_mel":
            return LogMel(*astuple(filters))
        case "kaldi":
            return _kaldi(filters, kaldi or {})
        case "waveform":
            return _Waveform(filters.window)
    raise bad_parameter("features", name, "log_mel, kaldi, waveform, whisper")


def _kaldi(filters: Filters, more: Mapping[str, Any]) -> KaldiFbank:
    need_packages("features: kaldi", "kaldi")
    valid = [name for name, one in inspect.signature(KaldiFbank).parameters.items() if one.kind is one.KEYWORD_ONLY]
    if unknown := more.keys() - valid:
        raise InputError(f"job.params: kaldi: {', '.join(sorted(unknown))} is not known; valid: {', '.join(valid)}")
    return KaldiFbank(*astuple(filters), **more)


class _Waveform:
    """The signal as it is."""

    def __init__(self, window: int) -> None:
        self._window = window

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        need_window(signal, self._window)
        return signal
