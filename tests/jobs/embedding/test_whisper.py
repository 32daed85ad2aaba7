"""WhisperFeatures: the numbers that transformers' extractor computes, whatever the signal."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperFeatureExtractor

from jobs.embedding.whisper import FRAMES, RATE, SAMPLES, WhisperFeatures, sound_frames
from tests.support.examples import examples

EXTRACTORS = {mels: WhisperFeatureExtractor(feature_size=mels) for mels in (80, 128)}  # type: ignore[no-untyped-call]
OURS = {mels: WhisperFeatures(mels) for mels in (80, 128)}


def tone(samples: int, hertz: float, loud: float) -> np.ndarray:
    return (loud * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE)).astype(np.float32)


def noise(samples: int) -> np.ndarray:
    return (np.random.default_rng(samples).normal(size=samples) * 0.1).astype(np.float32)


SIGNALS: dict[str, Any] = {
    "one sample": noise(1),
    "half a window": noise(200),
    "a second of a tone": tone(RATE, 440, 0.5),
    "nearly silent": tone(RATE, 3000, 1e-5),
    "silence": np.zeros(RATE, np.float32),
    "no whole hop": noise(12_345),
    "all but a hop": noise(SAMPLES - 100),
    "30 seconds": noise(SAMPLES),
}


@pytest.mark.parametrize("mels", EXTRACTORS)
@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
def test_features_are_those_of_transformers(signal: np.ndarray, mels: int) -> None:
    extractor = EXTRACTORS[mels]
    found = OURS[mels](signal)
    assert found.dtype == np.float32
    assert found.shape == (FRAMES, mels)
    padded = np.pad(signal, (0, SAMPLES - len(signal)))
    exact = extractor._np_extract_fbank_features(padded[None], "cpu")[0].T
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-6)
    # With torch installed it computes in 32 bits, and says itself that it is off by 1e-5.
    called = extractor(signal, sampling_rate=RATE)["input_features"][0].T
    np.testing.assert_allclose(found, called, rtol=0, atol=1e-4)


@settings(max_examples=examples(20), deadline=None)
@given(length=st.integers(1, 4 * RATE), loud=st.floats(1e-6, 1), hertz=st.floats(20, 8000))
def test_features_of_any_tone_are_those_of_transformers(length: int, loud: float, hertz: float) -> None:
    signal = tone(length, hertz, loud)
    padded = np.pad(signal, (0, SAMPLES - length))
    exact = EXTRACTORS[80]._np_extract_fbank_features(padded[None], "cpu")[0].T
    np.testing.assert_allclose(OURS[80](signal), exact, rtol=0, atol=1e-6)


def test_frames_that_are_sound_are_those_of_its_attention_mask() -> None:
    for length in (1, 159, 160, 161, 5000, SAMPLES - 1, SAMPLES):
        mask = EXTRACTORS[80](noise(length), sampling_rate=RATE, return_attention_mask=True)["attention_mask"]
        assert mask.sum() == sound_frames(length), length
