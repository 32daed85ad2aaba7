"""docs/models.md: its Jobs run with its configs, with models made on the spot and a stand-in for vLLM."""

import asyncio
import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from jobs.errors import ProcessBroken
from jobs.job import Context
from jobs.node.generators import sample_seed
from launcher import results
from launcher.config.config import load_config
from launcher.config.yaml_lines import parse_document
from tests.support import doc_pages
from tests.support.launcher_runs import ROOT, launcher
from tests.support.small_models import save_llava, save_whisper

STAND_IN = ROOT / "tests" / "support" / "vllm_stand_in.py"


def written(folder: Path, section: str, **params: Any) -> Any:
    """Writes the section's module, and its config with other parameters; returns the name of the config."""
    for block in doc_pages.blocks(doc_pages.read("models.md", section)):
        assert block.file
        (folder / block.file).write_text(block.text)
        if block.language == "yaml":
            config = dict(parse_document(block.text, block.file).data)
            config["job"] = {**config["job"], "params": {**config["job"]["params"], **params}}
            (folder / "config.json").write_text(json.dumps({**config, "executor": "local"}))
            load_config(folder / block.file)
    return "config.json"


def outputs(folder: Path, config: str, name: str) -> list[Any]:
    done = launcher(folder, "run", config, "--set", "node.workers=1", "--set", "data.shards=1")
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads((folder / config).read_text())["name"]
    with results.open(folder / "runs" / run) as found:
        return list(found[name])


@pytest.mark.thorough
def test_speech_is_transcribed_as_the_model_does_it_alone(tmp_path: Path) -> None:
    save_whisper(tmp_path / "model")
    (tmp_path / "sound").mkdir()
    for number, rate in enumerate((16_000, 8_000, 16_000)):
        noise = np.random.default_rng(number).normal(size=rate // 2).astype(np.float32) * 0.1
        soundfile.write(tmp_path / "sound" / f"{number}.wav", noise, rate)
    found = outputs(tmp_path, written(tmp_path, "Transcription", model=str(tmp_path / "model")), "text")
    assert len(found) == 3

    transformers: Any = importlib.import_module("transformers")

    sound, rate = soundfile.read(tmp_path / "sound" / "0.wav", dtype="float32")
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "model")
    features = processor(sound, sampling_rate=rate, return_tensors="pt")["input_features"]
    tokens = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path / "model").generate(features)
    assert found[0] == processor.batch_decode(tokens, skip_special_tokens=True)[0]


@pytest.mark.thorough
def test_images_are_asked_as_the_model_is_alone(tmp_path: Path) -> None:
    save_llava(tmp_path / "model")
    (tmp_path / "photos").mkdir()
    for number, size in enumerate([(20, 30), (40, 16), (64, 64)]):
        Image.new("RGB", size, (200, 80 * number, 0)).save(tmp_path / "photos" / f"{number}.jpg")
    config = written(tmp_path, "Vision and language", model=str(tmp_path / "model"), max_tokens=6)
    found = outputs(tmp_path, config, "answer")
    assert len(found) == 3

    transformers: Any = importlib.import_module("transformers")

    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "model")
    with Image.open(tmp_path / "photos" / "2.jpg") as image:
        asked = processor(images=image, text="<image>What is on the table?", return_tensors="pt")
    model = transformers.AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    tokens = model.generate(**asked, max_new_tokens=6, do_sample=False)[:, asked["input_ids"].shape[1] :]
    assert found[2] == processor.batch_decode(tokens, skip_special_tokens=True)[0]


def test_vllm_is_asked_with_its_own_signatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "vLLM in the process")
    shutil.copy(STAND_IN, tmp_path / "vllm.py")
    monkeypatch.syspath_prepend(tmp_path)
    job = importlib.import_module("with_vllm").Answers("none")

    async def ask(*prompts: str) -> list[Any]:
        await job.setup(Context("cpu", 0, None, tmp_path, 0, 8, ("cpu",)))
        try:
            return await asyncio.gather(*(job.process_sample(prompt, 7) for prompt in prompts), return_exceptions=True)
        finally:
            job.teardown()

    try:
        first, second, dead = asyncio.run(ask("say a", "b", "dead"))
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in ("vllm", "with_vllm")]:
            del sys.modules[name]
    assert (first, second) == ({"text": "say a 7", "tokens": [0, 1, 2]}, {"text": "b 7", "tokens": [0, 1]})
    assert isinstance(dead, ProcessBroken)


@pytest.mark.thorough
def test_vllm_runs_as_the_page_says(tmp_path: Path) -> None:
    shutil.copy(STAND_IN, tmp_path / "vllm.py")
    (tmp_path / "prompts.jsonl").write_text("".join(f'{{"prompt": "say {number}"}}\n' for number in range(40)))
    (tmp_path / "model").mkdir()
    config = written(tmp_path, "vLLM in the process", model=str(tmp_path / "model"))
    document = json.loads((tmp_path / config).read_text())
    del document["node"]["gpus_per_process"]  # here is none
    (tmp_path / config).write_text(json.dumps(document))
    assert outputs(tmp_path, config, "text") == [f"say {row} {sample_seed(0, row)}" for row in range(40)]
