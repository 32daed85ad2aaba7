"""docs/jobs.md: its tables are the parameters of the classes, its configs are valid, its model works."""

import inspect
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jobs.audio_embedding import AudioEmbedding
from jobs.command import Command
from jobs.download import Download
from jobs.image_embedding import ImageEmbedding
from jobs.job import Job
from jobs.text_embedding import TextEmbedding
from jobs.text_generation import TextGeneration
from jobs.thumbnails import Thumbnails
from launcher.catalogue.catalogue import Entry, built_in
from launcher.config.config import load_config
from launcher.config.yaml_lines import parse_document
from tests.jobs.embedding.test_torch_model import context
from tests.support.launcher_runs import ROOT

PAGE = (ROOT / "docs" / "jobs.md").read_text()
TOLD_IN_WORDS = {"command", "model", "folder", "mean", "std"}
JOBS = [TextEmbedding, AudioEmbedding, ImageEmbedding, TextGeneration, Thumbnails, Command, Download]
CLASSES = pytest.mark.parametrize("job", JOBS)
# Models to copy are read at once.
MOST_LINES = 200


def section(job: type[Job]) -> str:
    return PAGE.partition(f"\n## {job.__module__}:{job.__name__}\n")[2].partition("\n## ")[0]


def block(job: type[Job], language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", section(job), re.MULTILINE | re.DOTALL)
    assert found, f"no {language} block for {job.__name__}"
    return found[1]


@CLASSES
def test_the_table_of_a_job_has_its_parameters_and_their_defaults(job: type[Job]) -> None:
    told: dict[str, str] = {}
    table = section(job).partition("| parameter | default |")[2]
    for names, defaults in re.findall(r"^\| (`[^|]+`) \|([^|]*)\|", table, re.MULTILINE):
        words = [word.strip().strip("`") for word in defaults.split(",")]
        told |= dict(zip((name.strip("`") for name in names.split(", ")), words, strict=True))
    found = inspect.signature(job).parameters
    assert told.keys() == found.keys()
    for name in found.keys() - TOLD_IN_WORDS:
        default = found[name].default
        assert told[name] == (default if default and isinstance(default, str) else json.dumps(default)), name


@pytest.mark.parametrize("entry", built_in(), ids=lambda entry: entry.path)
def test_a_built_in_job_is_short_and_has_a_section(entry: Entry) -> None:
    assert len(inspect.getsource(inspect.getmodule(entry.cls) or entry.cls).splitlines()) <= MOST_LINES
    assert f"\n## {entry.path}\n" in PAGE


@CLASSES
def test_the_config_of_a_job_is_valid(job: type[Job], tmp_path: Path) -> None:
    text = block(job, "yaml")
    (tmp_path / "config.yaml").write_text(text)
    assert load_config(tmp_path / "config.yaml").job.class_ == f"{job.__module__}:{job.__name__}"
    inspect.signature(job).bind(**parse_document(text, "config.yaml").data["job"]["params"])


def test_the_model_of_the_page_has_several_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "two_heads.py").write_text(block(ImageEmbedding, "python"))
    monkeypatch.syspath_prepend(tmp_path)
    job = ImageEmbedding("two_heads:TwoHeads", size=32)
    job.setup(context())
    monkeypatch.delitem(sys.modules, "two_heads")
    outputs = job.process(np.zeros((2, 32, 32, 3), np.uint8))
    assert {name: list(value.shape) for name, value in outputs.items()} == {
        "embedding": [2, 48],
        "label": [2],
        "score": [2],
    }


def test_the_model_of_the_page_leaves_out_padding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pooling.py").write_text(block(AudioEmbedding, "python"))
    monkeypatch.syspath_prepend(tmp_path)
    for number, seconds in enumerate([1.0, 0.3, 0.6]):
        noise = np.random.default_rng(number).normal(size=int(16000 * seconds)) * 0.1
        soundfile.write(tmp_path / f"{number}.wav", noise, 16000)
    job = AudioEmbedding("pooling:MeanOverTime", max_padding=0.9, folder=tmp_path)
    job.setup(context())
    monkeypatch.delitem(sys.modules, "pooling")
    items = [job.load({"path": f"{number}.wav", "spk_id": "a"}) for number in range(3)]
    np.testing.assert_allclose(
        job.process(job.collate(items))["X"], [pieces.frames.mean(0) for pieces, *_ in items], rtol=1e-4
    )
