"""AudioEmbedding with segments: a vector for each of them, that of the model called on it alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from jobs.audio_embedding import AudioEmbedding
from jobs.embedding.sound_pieces import segments
from jobs.errors import InputError
from tests.jobs.embedding.test_torch_model import context

RATE = 8000
MODEL = "tests.jobs.embedding.test_kaldi_fbank:First"


@given(length=st.integers(1, 300), size=st.integers(1, 60), hop=st.integers(1, 90))
def test_segments_are_whole_but_for_what_is_left(length: int, size: int, hop: int) -> None:
    found = segments(length, size, hop)
    assert [start for start, _ in found] == [number * hop for number in range(len(found))]
    assert all(stop == min(start + size, length) for start, stop in found)
    assert all(stop - start >= size / 2 for start, stop in found[1:])
    left = length - len(found) * hop
    assert found[-1][1] == length or left < size / 2


def test_without_segments_a_file_is_one() -> None:
    assert segments(17, 0, 0) == [(0, 17)]


@pytest.mark.parametrize(("features", "per_second"), [("waveform", RATE), ("log_mel", 100)])
def test_each_segment_has_the_vector_of_it_alone(tmp_path: Path, features: str, per_second: int) -> None:
    seconds = [1.7, 0.3, 1.0]
    for number, length in enumerate(seconds):
        noise = np.random.default_rng(number).normal(size=round(RATE * length)) * 0.1
        soundfile.write(tmp_path / f"{number}.wav", noise, RATE, subtype="FLOAT")
    common: dict[str, Any] = {
        "folder": tmp_path,
        "sample_rate": RATE,
        "mels": 23,
        "features": features,
        "max_padding": 0.5,
    }
    job = AudioEmbedding(MODEL, segment=0.5, segment_hop=0.25, **common)
    job.setup(context())
    items = [job.load({"path": f"{number}.wav", "spk_id": "a"}) for number in range(3)]
    found = job.process(job.collate(items))
    for (pieces, _, _), vectors, starts in zip(items, found["X"], found["starts"], strict=True):
        frames = pieces.frames
        expected = segments(len(frames), per_second // 2, per_second // 4)
        np.testing.assert_allclose(starts, [start / per_second for start, _ in expected], rtol=1e-6)
        means = [np.atleast_1d(frames[start:stop].mean(axis=0)) for start, stop in expected]
        np.testing.assert_allclose(vectors[:, :-1], means, atol=1e-4)
        assert vectors[:, -1].tolist() == [stop - start for start, stop in expected]
    assert found["n_frames"].tolist() == [pieces.length for pieces, _, _ in items]
    assert len(found["X"][1]) == 1


def test_a_segment_of_no_length_is_refused() -> None:
    with pytest.raises(InputError, match="segment: 0 is not valid"):
        AudioEmbedding(MODEL, segment=0)
