"""AudioEmbedding with Whisper: against its encoder called directly on what transformers' extractor makes of a file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from jobs.audio_embedding import AudioEmbedding
from jobs.errors import InputError
from tests.jobs.embedding.test_torch_model import context

RATE = 16_000
MODEL = "tests.jobs.embedding.test_kaldi_fbank:First"


@pytest.fixture(scope="module", params=[80, 128])
def mels(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def save_whisper(folder: Path, mels: int) -> Path:
    """A model of Whisper's kind with random weights, as save_pretrained writes it."""
    torch.manual_seed(mels)
    small: dict[str, Any] = {
        "d_model": 16,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "vocab_size": 8,
        "encoder_layers": 1,
    }
    heads: dict[str, Any] = {
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "decoder_layers": 1,
        "max_target_positions": 4,
    }
    tokens: dict[str, Any] = dict.fromkeys(
        ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0
    )
    WhisperModel(WhisperConfig(num_mel_bins=mels, **small, **heads, **tokens)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(mels: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("model") / "whisper", mels)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Signals, by the paths of their files: two short ones, and one of 42 seconds."""
    folder = tmp_path_factory.mktemp("sounds")
    found = {}
    for number, seconds in enumerate([1.7, 0.31, 42.0]):
        signal = (np.random.default_rng(number).normal(size=round(RATE * seconds)) * 0.1).astype(np.float32)
        signal *= np.linspace(0.1, 1, len(signal), dtype=np.float32)
        soundfile.write(folder / f"{number}.wav", signal, RATE, subtype="FLOAT")
        found[str(folder / f"{number}.wav")] = signal
    return found


def directly(model: Path, mels: int, signal: np.ndarray) -> tuple[np.ndarray, int]:
    """The mean of the states that hear sound, float32 [d], of up to 30 seconds; and how many frames are sound."""
    extractor = WhisperFeatureExtractor(feature_size=mels)  # type: ignore[no-untyped-call]
    features = extractor(signal, sampling_rate=RATE, return_attention_mask=True, return_tensors="pt")
    with torch.inference_mode():
        encoder = WhisperModel.from_pretrained(model).eval().get_encoder()  # type: ignore[no-untyped-call]
        states = encoder(features["input_features"]).last_hidden_state[0].numpy()
    frames = int(features["attention_mask"].sum())
    return states[: -(-frames // 2)].mean(axis=0), frames


def embed(model: Path, mels: int, sounds: dict[str, Any], **params: Any) -> dict[str, Any]:
    job = AudioEmbedding(str(model), features="whisper", mels=mels, **params)
    job.setup(context())
    items = [job.load({"path": path, "spk_id": "a"}) for path in sounds]
    return job.process(job.collate(items))


def test_a_file_has_the_mean_of_the_states_that_hear_its_sound(
    model: Path, mels: int, sounds: dict[str, np.ndarray]
) -> None:
    found = embed(model, mels, sounds)
    for vector, frames, signal in zip(np.asarray(found["X"]), found["n_frames"], sounds.values(), strict=True):
        windows = [
            directly(model, mels, signal[start : start + 30 * RATE]) for start in range(0, len(signal), 30 * RATE)
        ]
        sizes = [size for _, size in windows]
        np.testing.assert_allclose(vector, np.average([one for one, _ in windows], axis=0, weights=sizes), atol=1e-4)
        assert frames == sum(sizes)


@pytest.mark.parametrize("mels", [80], indirect=True)
def test_a_segment_has_the_vector_of_it_alone(model: Path, mels: int, sounds: dict[str, np.ndarray]) -> None:
    found = embed(model, mels, sounds, segment=20.0, segment_hop=10.0)
    assert [one.tolist() for one in found["starts"]] == [[0], [0], [0, 10, 20, 30]]
    for vectors, starts, signal in zip(found["X"], found["starts"], sounds.values(), strict=True):
        own = [signal[int(start * RATE) : int((start + 20) * RATE)] for start in starts]
        np.testing.assert_allclose(vectors, [directly(model, mels, one)[0] for one in own], atol=1e-4)


def test_a_model_of_ones_own_gets_the_features_with_how_many_are_sound(sounds: dict[str, np.ndarray]) -> None:
    job = AudioEmbedding(MODEL, features="whisper", max_seconds=20)
    job.setup(context())
    pieces, *_ = job.load({"path": next(iter(sounds)), "spk_id": "a"})
    assert (pieces.frames.shape, pieces.spans.tolist()) == ((3000, 80), [[0, 3000, 170]])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"features": "kaldi"}, "features: 'kaldi' is not valid; valid: whisper, which .*whisper was trained with"),
        ({}, "features: 'log_mel' is not valid; valid: whisper"),
        ({"features": "whisper", "mels": 128}, "mels: 128 is not valid; valid: 80, as the model was trained with"),
        ({"features": "whisper", "model_params": {"a": 1}}, "model_params: .* none for a Whisper model"),
        (
            {"features": "whisper", "sample_rate": 8000},
            "features: 'whisper' is not valid; valid: 16000 samples per second",
        ),
        ({"features": "whisper", "low": 0.0}, "the default of window, hop, low and high"),
        (
            {"features": "whisper", "segment": 31},
            "segment: 31 is not valid; valid: of features whisper up to 30 seconds",
        ),
        (
            {"features": "whisper", "mels": 500, "model": MODEL},
            "mels: 500 filters are too narrow for a window of 400 samples",
        ),
        ({"features": "whisper", "model": "other"}, "for a Whisper model; other is of type wav2vec2"),
        ({"features": "whisper", "model": "no/such.pt"}, "model: there is no file .*no/such.pt"),
        ({"features": "whisper", "model": "no such"}, "model: there is no folder 'no such'"),
    ],
)
def test_what_was_not_trained_together_is_refused_when_the_job_is_made(
    params: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, kind in (("whisper", "whisper"), ("other", "wav2vec2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": kind, "num_mel_bins": 80}))
    with pytest.raises(InputError, match=message):
        AudioEmbedding(**{"model": "whisper", **params})


def test_a_model_that_turns_out_to_be_another_is_refused_by_the_process(tmp_path: Path) -> None:
    """As of the hub, whose files are not there when the run is planned."""
    from jobs.embedding.whisper_encoder import WhisperEncoder

    save_whisper(tmp_path / "whisper", 80)
    with pytest.raises(InputError, match="mels: 128 is not valid; valid: 80"):
        WhisperEncoder(str(tmp_path / "whisper"), 128)
