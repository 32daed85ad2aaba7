"""AudioEmbedding: on real speech through the launcher, and against its model called directly on each file."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.audio_embedding import AudioEmbedding, length_groups
from jobs.embedding.log_mel import LogMel
from jobs.errors import InputError
from launcher import results
from tests.jobs.embedding.test_torch_model import context
from tests.slurm_cluster import SlurmCluster
from tests.support.embedding_models import SpeechStatistics, save_script
from tests.support.launcher_runs import launcher, run_of
from tests.support.slurm_runs import result_data, use_cluster
from tests.support.voices import Speech

RATE, MELS = 8000, 40
FEATURES = LogMel(RATE, MELS, 200, 80, 20.0, 4000.0)
BATCH = 32
STATISTICS: dict[str, Any] = {
    "model": "tests.support.embedding_models:SpeechStatistics",
    "model_params": {"centre": [0.0] * MELS},
}


# --- on real speech


def features_of(path: Path) -> torch.Tensor:
    """[frames, mels] of a file, read, averaged and resampled here."""
    signal, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(FEATURES(soxr.resample(signal.mean(axis=1), rate, RATE)))


@pytest.fixture(scope="session")
def model(speech: Speech) -> Path:
    """A TorchScript file next to the speech, that subtracts the mean of some of it."""
    centre = torch.cat([features_of(path) for path in speech.paths[:50]]).mean(0)
    return save_script(SpeechStatistics(centre.tolist()), speech.folder / "model.pt")


@pytest.fixture(scope="session")
def expected(speech: Speech, model: Path) -> np.ndarray:
    """The model called directly on one file after another, float32 [files, d]."""
    script: Any = torch.jit.load(model)  # type: ignore[no-untyped-call]
    features = [features_of(path)[None] for path in speech.paths]
    with torch.inference_mode():
        return torch.cat([script(one, torch.tensor([one.shape[1]])) for one in features]).numpy()


def write_config(folder: Path, speech: Speech, model: Path, **sections: Any) -> Path:
    folder.mkdir(exist_ok=True)
    params = {"model": str(model), "folder": str(speech.folder), "sample_rate": RATE, "mels": MELS}
    node = {"processes": 2, "workers": 2, "devices": "cpu", "batch_size": BATCH, "max_failed_samples": 0}
    config = {
        "name": "speech",
        "job": {"class": "jobs.audio_embedding:AudioEmbedding", "params": params},
        "data": {"manifest": str(speech.manifest), "id": "id", "shards": 2},
        "node": {**node, **sections.pop("node", {})},
        "executor": "local",
        "local": {"parallelism": 1},
        **sections,
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))
    return path


def run(config: Path) -> Path:
    done = launcher(config.parent, "run", config.name)
    assert done.returncode == 0, done.stdout + done.stderr
    return run_of(config).path


@pytest.fixture(scope="session")
def computed(speech: Speech, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of the speech, by two processes with two pool workers each."""
    return run(write_config(tmp_path_factory.mktemp("computed"), speech, model))


def test_every_embedding_is_that_of_the_model_called_directly_on_the_file(
    speech: Speech, expected: np.ndarray, computed: Path
) -> None:
    with results.open(computed) as found:
        assert list(found.ids) == [path.stem for path in speech.paths]
        vectors = np.asarray(found["X"])
        assert (vectors.dtype, vectors.shape) == (np.dtype(np.float32), expected.shape)
        np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
        lengths = [len(features_of(path)) for path in speech.paths]
        assert (found["n_frames"].dtype, list(found["n_frames"])) == (np.int32, lengths)
        assert list(found["spk_ids"]) == list(speech.speakers)
        assert list(found["spk_path"]) == [path.name for path in speech.paths]


def test_files_of_one_speaker_are_closer_to_each_other_than_to_those_of_others(speech: Speech, computed: Path) -> None:
    with results.open(computed) as found:
        vectors, speakers = np.asarray(found["X"]), np.array(list(found["spk_ids"]))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    itself, same = np.eye(len(unit), dtype=bool), speakers[:, None] == speakers
    for speaker in set(speech.speakers):
        own = speakers == speaker
        pairs = own[:, None] & ~itself
        assert cosines[pairs & same].mean() > cosines[pairs & ~same].mean() + 0.02, speaker
    cosines[itself] = -1
    assert (speakers[cosines.argmax(axis=1)] == speakers).mean() > 0.8


@pytest.mark.thorough
def test_one_process_without_workers_gives_the_same_bits(
    speech: Speech, model: Path, computed: Path, tmp_path: Path
) -> None:
    alone = write_config(tmp_path / "alone", speech, model, node={"processes": 1, "workers": 0})
    run(alone)
    assert result_data(run_of(alone)) == result_data(run_of(computed.parents[1] / "config.yaml"))


@pytest.mark.thorough
@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
def test_on_slurm_it_gives_the_same_bits(
    clean_slurm: SlurmCluster,
    speech: Speech,
    model: Path,
    computed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_cluster(clean_slurm, monkeypatch)
    config = write_config(tmp_path / "slurm", speech, model, executor="slurm", slurm={"mem": "2G"})
    run(config)
    assert result_data(run_of(config)) == result_data(run_of(computed.parents[1] / "config.yaml"))


# --- grouping by length

LENGTHS = st.lists(st.integers(1, 3000), min_size=1, max_size=80)


@given(lengths=LENGTHS, max_frames=st.integers(1, 20_000), max_padding=st.floats(0, 0.9))
def test_every_row_is_in_one_group_and_no_group_exceeds_the_limits(
    lengths: list[int], max_frames: int, max_padding: float
) -> None:
    groups = length_groups(np.array(lengths, np.int32), max_frames, max_padding)
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    for group in groups:
        own = [lengths[row] for row in group]
        size = len(own) * max(own)
        assert size <= max_frames or len(own) == 1
        assert size - sum(own) <= max_padding * size


@given(lengths=LENGTHS)
def test_without_limits_all_rows_are_one_group_and_without_padding_each_length_is_one(lengths: list[int]) -> None:
    assert len(length_groups(np.array(lengths), 10**9, 1.0)) == 1
    assert len(length_groups(np.array(lengths), 10**9, 0.0)) == len(set(lengths))


# --- single files


def started(**params: Any) -> AudioEmbedding:
    job = AudioEmbedding(**{**STATISTICS, "sample_rate": RATE, "mels": MELS, **params})
    job.setup_worker(context())
    job.setup(context())
    return job


def embed(job: AudioEmbedding, paths: list[Path]) -> dict[str, Any]:
    samples = [{"path": str(path), "spk_id": 7} for path in paths]
    found = job.process(job.collate([job.load(sample) for sample in samples]))
    return {name: value if isinstance(value, list) else np.asarray(value) for name, value in found.items()}


def write(path: Path, seconds: float, rate: int = RATE, **options: Any) -> Path:
    """Noise that swells; what it sounds like depends on its length alone."""
    count = round(seconds * rate)
    noise = np.random.default_rng(count).normal(size=count) * np.linspace(0.01, 0.2, count)
    soundfile.write(path, noise, rate, **options)
    return path


@pytest.fixture(scope="module")
def noises(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files from one window to 8 seconds, in no order of length."""
    folder = tmp_path_factory.mktemp("noises")
    seconds = [1.3, 0.025, 8.0, 2.2, 1.31, 0.4, 2.1, 0.41, 5.0, 1.3]
    return [write(folder / f"{number}.wav", length) for number, length in enumerate(seconds)]


@pytest.mark.parametrize("limits", [{}, {"max_padding": 0.9}, {"max_frames": 1}, {"max_frames": 200, "max_padding": 0}])
def test_an_embedding_does_not_depend_on_the_other_files_of_its_batch(
    noises: list[Path], limits: dict[str, Any]
) -> None:
    job = started(**limits)
    together = embed(job, noises)
    alone = [embed(job, [path]) for path in noises]
    np.testing.assert_allclose(together["X"], np.concatenate([one["X"] for one in alone]), rtol=1e-4, atol=1e-5)
    assert together["n_frames"].tolist() == [one["n_frames"][0] for one in alone]
    assert together["spk_path"] == [str(path) for path in noises]
    assert together["spk_ids"] == ["7"] * len(noises)


def test_a_model_that_takes_padding_for_sound_is_right_without_padding_and_only_then(noises: list[Path]) -> None:
    model = "tests.support.embedding_models:Deaf"
    careful, careless = (started(model=model, model_params=None, max_padding=share) for share in (0.0, 0.9))
    alone = np.concatenate([embed(careful, [path])["X"] for path in noises])
    np.testing.assert_allclose(embed(careful, noises)["X"], alone, rtol=1e-5)
    assert not np.allclose(embed(careless, noises)["X"], alone, rtol=0.1)


def test_bfloat16_computes_nearly_the_same_and_still_returns_float32(noises: list[Path]) -> None:
    coarse = embed(started(dtype="bfloat16"), noises)["X"]
    assert coarse.dtype == np.float32
    np.testing.assert_allclose(coarse, embed(started(), noises)["X"], rtol=0.05, atol=0.3)


def test_channels_are_averaged_and_only_the_first_seconds_are_read(tmp_path: Path) -> None:
    signal, _ = soundfile.read(write(tmp_path / "mono.wav", 3.0))
    noise = np.random.default_rng(0).normal(size=len(signal)) * 0.01
    soundfile.write(tmp_path / "stereo.wav", np.stack([signal + noise, signal - noise], axis=1), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "first.wav", signal[: RATE * 2], RATE)
    mono, stereo, first = (tmp_path / f"{name}.wav" for name in ("mono", "stereo", "first"))
    whole, cut = started(max_seconds=None), started(max_seconds=2.0)
    np.testing.assert_allclose(embed(whole, [stereo])["X"], embed(whole, [mono])["X"], rtol=1e-3, atol=1e-3)
    found = embed(cut, [mono])
    assert found["n_frames"].tolist() == embed(whole, [first])["n_frames"].tolist()
    np.testing.assert_allclose(found["X"], embed(whole, [first])["X"], rtol=1e-5)


def test_a_tone_has_the_same_embedding_at_any_sample_rate(tmp_path: Path) -> None:
    job = started(high=3000.0)
    vectors = []
    for rate in (8000, 11025, 16000, 44100):
        tone = (
            np.sum([np.sin(2 * np.pi * hertz * np.arange(2 * rate) / rate) for hertz in (200, 440, 1000, 2500)], axis=0)
            / 8
        )
        noise = soxr.resample(np.random.default_rng(0).normal(size=4000) * 0.1, 2000, rate, "VHQ")
        soundfile.write(tmp_path / f"{rate}.wav", tone + noise[: len(tone)], rate, subtype="FLOAT")
        vectors.append(embed(job, [tmp_path / f"{rate}.wav"])["X"][0, :MELS])
    audible = vectors[0] > -5
    assert audible.sum() > MELS / 2
    for vector in vectors[1:]:
        np.testing.assert_allclose(vector[audible], vectors[0][audible], atol=0.2)


def test_other_columns_and_other_formats_can_be_used(tmp_path: Path) -> None:
    write(tmp_path / "a.flac", 1.0)
    write(tmp_path / "a.wav", 1.0)
    job = started(path="file", speaker="who", folder=tmp_path)
    found = [job.load({"file": f"a.{kind}", "who": "ann"}) for kind in ("flac", "wav")]
    np.testing.assert_allclose(found[0][0].frames, found[1][0].frames, atol=0.05)
    assert found[0][1:] == ("ann", "a.flac")
    content = job.load({"file": (tmp_path / "a.flac").read_bytes(), "who": b"ann"})  # as of a tar
    assert np.array_equal(content[0].frames, found[0][0].frames)
    assert content[1] == "ann"


# --- what cannot be used


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def not_audio(path: Path) -> None:
    path.write_text("<html>404 Not Found</html>")


def not_finite(path: Path) -> None:
    soundfile.write(path, np.array([0.1, np.nan] * 1000, np.float32), RATE, subtype="FLOAT")


def too_short(path: Path) -> None:
    write(path, 0.02)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_short, r"a\.wav: cut short, it has \d+ of 16000 bytes; copy or make it again"),
        (not_audio, r"a\.wav: cannot be read as audio: Format not recogni[sz]ed"),
        (not_finite, r"a\.wav: holds values that are no finite numbers"),
        (too_short, r"a\.wav: 160 samples are less than one window of 200"),
        (Path.unlink, r"No such file or directory: '/.*/a\.wav'"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path: Path, damage: Any, message: str) -> None:
    path = write(tmp_path / "a.wav", 1.0)
    job = started(folder=tmp_path)
    sample = {"path": "a.wav", "spk_id": "ann"}
    job.load(sample)
    damage(path)
    with pytest.raises((ValueError, OSError), match=message):
        job.load(sample)


def test_a_file_that_was_written_into_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    """Such a header claims the largest length there is."""
    path = write(tmp_path / "a.wav", 1.0)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "b.wav").write_bytes(data)
    found = embed(started(), [path, tmp_path / "b.wav"])
    assert found["n_frames"][0] == found["n_frames"][1]


def test_files_of_which_nobody_says_who_speaks_have_no_spk_ids(tmp_path: Path) -> None:
    job = started(speaker=None)
    assert job.manifest_columns() == ("path",)
    found = job.process(job.collate([job.load({"path": str(write(tmp_path / "a.wav", 0.5))})]))
    assert found.keys() == {"X", "n_frames", "spk_path"}


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"path": "a.wav", "spk_id": None}, "column 'spk_id' is null here"),
        ({"path": "", "spk_id": 1}, "column 'path' is empty here"),
        ({"file": "a.wav", "spk_id": 1}, "no column 'path'; its columns: file, spk_id"),
    ],
)
def test_a_row_without_file_or_speaker_says_what_it_lacks(sample: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        started().load(sample)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sample_rate": 0}, "sample_rate: 0 is not valid"),
        ({"sample_rate": 16000.5}, "sample_rate: 16000.5 is not valid"),
        ({"mels": True}, "mels: True is not valid; valid: a number of filters"),
        ({"mels": 500}, "mels: 500 filters are too narrow"),
        ({"window": 0}, "window: 0 is not valid; valid: seconds"),
        ({"window": float("nan")}, "window: nan is not valid"),
        ({"hop": 0.00001}, "hop: 1e-05 is not valid; valid: seconds, one sample at least: 0.000125"),
        ({"high": 4001}, "high: 4001 is not valid; valid: Hz up to 4000, or null"),
        ({"low": 4000}, "low: 4000 is not valid; valid: Hz from 0 to less than high, 4000"),
        ({"low": -1}, "low: -1 is not valid"),
        ({"max_seconds": 0}, "max_seconds: 0 is not valid; valid: seconds over 0, or null"),
        ({"max_frames": 0}, "max_frames: 0 is not valid"),
        ({"max_padding": 1}, "max_padding: 1 is not valid; valid: a share from 0 to less than 1"),
        ({"dtype": "float64"}, "dtype: 'float64' is not valid; valid: float32, bfloat16, float16"),
        ({"folder": "no/such/folder"}, "folder: there is no folder /.*/no/such/folder"),
        ({"model": "no/such.pt", "model_params": None}, "model: there is no file"),
    ],
)
def test_parameters_that_cannot_work_are_refused_when_the_job_is_made(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"job.params: {message}"):
        AudioEmbedding(**{**STATISTICS, "sample_rate": RATE, "mels": MELS, **params})


def test_without_its_packages_it_says_which_and_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs torch, soundfile and soxr: pip install -e '/.*\[audio\]'"):
        AudioEmbedding(**STATISTICS)


def test_making_the_job_imports_nothing_heavy() -> None:
    code = f"""
import sys
from jobs.audio_embedding import AudioEmbedding
AudioEmbedding(**{STATISTICS!r})
print(sorted({{"torch", "soundfile", "soxr", "tests.support.embedding_models"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "[]\n"
