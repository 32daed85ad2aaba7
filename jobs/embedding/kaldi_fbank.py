"""KaldiFbank: Kaldi's filter bank features of a signal, by kaldi-native-fbank, for models that were trained with them.

Samples count as 16-bit numbers, as Kaldi reads them. There is no dither, so that a file has the same features each time.
Pre-emphasis is 0.97, the mean of each frame is taken off, and the logarithm of energies is the natural one, as by default
in Kaldi.
"""

import numpy as np

from jobs.embedding.log_mel import need_window
from jobs.inputs import bad_parameter

_SCALE = 32768.0  # a signal here is from -1 to 1
_WINDOWS = ("povey", "hamming", "hanning", "rectangular", "blackman")


class KaldiFbank:
    """Calling it turns a signal, float32 [samples], into float32 [frames, mels]: 1 + (samples - window) // hop frames.

    ``window`` and ``hop`` are numbers of samples, ``low`` and ``high`` are Hz, as for LogMel. With ``subtract_mean`` each
    filter has the mean 0 over a file. Raises InputError for what Kaldi refuses.
    """

    def __init__(
        self,
        sample_rate: int,
        mels: int,
        window: int,
        hop: int,
        low: float,
        high: float,
        *,
        window_type: str = "povey",
        subtract_mean: bool = False,
    ) -> None:
        import kaldi_native_fbank

        if window_type not in _WINDOWS:
            raise bad_parameter("kaldi.window_type", window_type, ", ".join(_WINDOWS))
        self._rate, self._window, self._subtract_mean = sample_rate, window, subtract_mean
        self._options = kaldi_native_fbank.FbankOptions()
        frames, filters = self._options.frame_opts, self._options.mel_opts
        frames.samp_freq, frames.dither, frames.window_type = sample_rate, 0.0, window_type
        frames.frame_length_ms, frames.frame_shift_ms = 1000 * window / sample_rate, 1000 * hop / sample_rate
        filters.num_bins, filters.low_freq, filters.high_freq = mels, low, high
        try:
            kaldi_native_fbank.OnlineFbank(self._options)
        except (RuntimeError, ValueError) as error:
            raise bad_parameter("mels", mels, f"a number of filters that Kaldi can make ({error})") from None

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Raises ValueError for a signal shorter than a window."""
        from kaldi_native_fbank import OnlineFbank

        need_window(signal, self._window)
        fbank = OnlineFbank(self._options)
        fbank.accept_waveform(self._rate, signal * _SCALE)
        fbank.input_finished()
        features = np.stack([fbank.get_frame(number) for number in range(fbank.num_frames_ready)])
        return features - features.mean(axis=0) if self._subtract_mean else features
