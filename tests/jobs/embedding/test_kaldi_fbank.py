"""KaldiFbank against Kaldi's algorithm written out with numpy; and what features a model of AudioEmbedding gets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from jobs.audio_embedding import AudioEmbedding
from jobs.embedding.kaldi_fbank import KaldiFbank
from jobs.errors import InputError
from tests.jobs.embedding.test_torch_model import context

RATE, MELS, WINDOW, HOP = 8000, 23, 200, 80
WINDOWS = {
    "povey": (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1))) ** 0.85,
    "hamming": 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1)),
}


def signal_of(seconds: float) -> np.ndarray:
    noise = np.random.default_rng(7).normal(size=round(RATE * seconds)) * 0.1
    return np.asarray(noise, np.float32)


def written_out(signal: np.ndarray, window_type: str) -> np.ndarray:
    """Kaldi's fbank without dither: float64 [frames, mels]."""
    frames = np.lib.stride_tricks.sliding_window_view(signal.astype(float) * 32768, WINDOW)[::HOP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    power = np.abs(np.fft.rfft(frames * WINDOWS[window_type], 256)) ** 2

    def mel(hertz: Any) -> Any:
        return 1127 * np.log(1 + hertz / 700)

    corners = np.linspace(mel(20.0), mel(RATE / 2), MELS + 2)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    place = mel(np.arange(128) * RATE / 256)
    filters = np.maximum(0, np.minimum((place - left) / (centre - left), (right - place) / (right - centre)))
    return np.asarray(np.log(np.maximum(power[:, :128] @ filters.T, 1.19e-7)))


@pytest.mark.parametrize("window_type", WINDOWS)
def test_the_features_are_those_of_kaldi(window_type: str) -> None:
    signal = signal_of(1.0)
    found = KaldiFbank(RATE, MELS, WINDOW, HOP, 20.0, RATE / 2, window_type=window_type)(signal)
    assert found.dtype == np.float32
    assert found.shape == (1 + (len(signal) - WINDOW) // HOP, MELS)
    np.testing.assert_allclose(found, written_out(signal, window_type), atol=2e-3)


def test_a_mean_that_is_subtracted_is_0_and_nothing_else_changes() -> None:
    signal = signal_of(0.5)
    plain = KaldiFbank(RATE, MELS, WINDOW, HOP, 20.0, 4000.0)(signal)
    centred = KaldiFbank(RATE, MELS, WINDOW, HOP, 20.0, 4000.0, subtract_mean=True)(signal)
    np.testing.assert_allclose(centred.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(centred, plain - plain.mean(axis=0), atol=1e-4)


class First(torch.nn.Module):
    """What the model was given of each file, to its length: mean over time, and the length."""

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        rows = [row[:length].mean(dim=0).reshape(-1) for row, length in zip(features, lengths.tolist(), strict=True)]
        return torch.cat([torch.stack(rows), lengths[:, None].float()], dim=1)


def embedded(folder: Path, **params: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """The vectors of three files, and their signals."""
    signals = [signal_of(seconds) for seconds in (0.5, 0.2, 0.35)]
    for number, signal in enumerate(signals):
        soundfile.write(folder / f"{number}.wav", signal, RATE, subtype="FLOAT")
    job = AudioEmbedding(f"{__name__}:First", folder=folder, sample_rate=RATE, mels=MELS, max_padding=0.9, **params)
    job.setup(context())
    items = [job.load({"path": f"{number}.wav", "spk_id": "a"}) for number in range(3)]
    return np.asarray(job.process(job.collate(items))["X"]), signals


def test_a_model_gets_kaldis_features(tmp_path: Path) -> None:
    vectors, signals = embedded(tmp_path, features="kaldi", kaldi={"window_type": "hamming"})
    expected = [written_out(signal, "hamming") for signal in signals]
    np.testing.assert_allclose(vectors[:, :-1], [one.mean(axis=0) for one in expected], atol=2e-3)
    assert vectors[:, -1].tolist() == [len(one) for one in expected]


def test_a_model_gets_the_waveform(tmp_path: Path) -> None:
    vectors, signals = embedded(tmp_path, features="waveform", max_frames=50)
    np.testing.assert_allclose(vectors[:, 0], [signal.mean() for signal in signals], atol=1e-6)
    assert vectors[:, 1].tolist() == [len(signal) for signal in signals]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"features": "kaldi", "kaldi": {"window_type": "kaiser"}}, "kaldi.window_type: 'kaiser'"),
        (
            {"features": "kaldi", "kaldi": {"window": 3}},
            "kaldi: window is not known; valid: window_type, subtract_mean",
        ),
        ({"features": "kaldi", "mels": 2}, "mels: 2"),
        ({"features": "mfcc"}, "features: 'mfcc'"),
        ({"kaldi": {"subtract_mean": True}}, "kaldi: "),
    ],
)
def test_parameters_that_cannot_work_are_refused(params: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        AudioEmbedding(f"{__name__}:First", **{"sample_rate": RATE, "mels": MELS, **params})


def test_a_signal_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="199 samples are less than one window of 200"):
        KaldiFbank(RATE, MELS, WINDOW, HOP, 20.0, 4000.0)(np.zeros(199, np.float32))
