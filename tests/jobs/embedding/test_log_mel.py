"""LogMel against the formula written out, sum by sum."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.embedding.log_mel import FLOOR, LogMel, mel, mel_filters
from jobs.errors import InputError

RATE = 8000


def slow_log_mel(
    signal: np.ndarray, rate: int, mels: int, window: int, hop: int, low: float, high: float
) -> np.ndarray:
    """The docstring of jobs.embedding.log_mel as loops, without numpy's Fourier transform."""

    def pitch(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    size = 1
    while size < window:
        size *= 2
    corners = [pitch(low) + (pitch(high) - pitch(low)) * k / (mels + 1) for k in range(mels + 2)]
    rows = []
    for start in range(0, len(signal) - window + 1, hop):
        frame = [signal[start + n] * (0.5 - 0.5 * math.cos(2 * math.pi * n / window)) for n in range(window)]
        row = [0.0] * mels
        for k in range(size // 2 + 1):
            turns = np.exp(-2j * np.pi * k * np.arange(window) / size)
            power = abs(sum(np.asarray(frame) * turns)) ** 2
            place = pitch(k * rate / size)
            for number in range(mels):
                left, centre, right = corners[number : number + 3]
                if left < place <= centre:
                    row[number] += power * (place - left) / (centre - left)
                elif centre < place < right:
                    row[number] += power * (right - place) / (right - centre)
        rows.append([math.log(max(energy, 1e-10)) for energy in row])
    return np.array(rows)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 1000),
    window=st.integers(60, 130),
    hop=st.integers(20, 200),
    mels=st.integers(1, 6),
    low=st.sampled_from([0.0, 20.0, 300.0]),
    high=st.sampled_from([2000.0, 4000.0]),
)
def test_features_are_those_of_the_formula(
    seed: int, window: int, hop: int, mels: int, low: float, high: float
) -> None:
    signal = np.random.default_rng(seed).normal(size=400).astype(np.float32)
    found = LogMel(RATE, mels, window, hop, low, high)(signal)
    np.testing.assert_allclose(found, slow_log_mel(signal, RATE, mels, window, hop, low, high), rtol=1e-5, atol=1e-5)
    assert found.dtype == np.float32
    assert len(found) == 1 + (len(signal) - window) // hop


def test_a_long_signal_has_the_features_of_its_parts() -> None:
    signal = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    features = LogMel(RATE, 20, 200, 80, 20.0, 4000.0)
    whole = features(signal)
    for frame in (0, 511, 512, 513, 1500, len(whole) - 1):
        np.testing.assert_array_equal(whole[frame], features(signal[frame * 80 : frame * 80 + 200])[0])


def test_the_mel_scale_is_the_one_of_the_htk_book() -> None:
    """Its constants make 1000 Hz 1000 mels; a step is linear below that and logarithmic above."""
    np.testing.assert_allclose(mel(np.array([0.0, 1000.0, 6300.0])), [0, 1000, 2595], atol=0.02)


@pytest.mark.parametrize("hertz", [250.0, 1000.0, 3000.0])
def test_a_tone_is_loudest_in_the_filter_nearest_to_it(hertz: float) -> None:
    signal = np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE).astype(np.float32)
    centres = np.linspace(mel(20.0), mel(4000.0), 32)[1:-1]
    found = LogMel(RATE, 30, 256, 80, 20.0, 4000.0)(signal)
    assert set(found.argmax(axis=1)) == {np.abs(centres - mel(hertz)).argmin()}


def test_neighbouring_filters_share_each_frequency_out_between_them() -> None:
    frequencies = np.linspace(0, 4000, 1001)
    weights = mel_filters(frequencies, 12, 100.0, 3800.0)
    corners = np.linspace(mel(100.0), mel(3800.0), 14)
    inside = (mel(frequencies) >= corners[1]) & (mel(frequencies) <= corners[-2])
    np.testing.assert_allclose(weights.sum(axis=0)[inside], 1)
    assert weights[:, (frequencies <= 100) | (frequencies >= 3800)].max() < 1e-9


def test_silence_has_the_logarithm_of_the_floor() -> None:
    np.testing.assert_allclose(LogMel(RATE, 5, 200, 80, 20.0, 4000.0)(np.zeros(400, np.float32)), np.log(FLOOR))


def test_a_signal_shorter_than_a_window_is_refused() -> None:
    features = LogMel(RATE, 5, 200, 80, 20.0, 4000.0)
    assert features(np.ones(200, np.float32)).shape == (1, 5)
    with pytest.raises(ValueError, match="199 samples are less than one window of 200"):
        features(np.ones(199, np.float32))


def test_filters_that_would_catch_no_frequency_are_refused() -> None:
    with pytest.raises(InputError, match=r"mels: 100 filters are too narrow .*; valid: fewer mels, a longer window"):
        LogMel(RATE, 100, 200, 80, 0.0, 4000.0)
