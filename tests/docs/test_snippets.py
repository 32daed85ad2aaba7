"""Examples of the how-to pages, each with data as the page tells: classes are taken through `launcher try`, in this process."""

import functools
import http.server
import io
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from jobs.storage.rundir import RunDir
from launcher.cli import main
from launcher.config.config import load_config
from tests.support import doc_pages
from tests.support.launcher_runs import ROOT, launcher, write_config
from tests.support.tars import write_tar
from tests.support.task_runs import engine


def python_with(page: str, text: str) -> str:
    """The Python block of a page that has this text."""
    (found,) = [block.text for block in doc_pages.blocks(doc_pages.read(page)) if text in block.text]
    return found


def tried(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, job: str, **sections: Any
) -> dict[str, dict[str, Any]]:
    """What a Job of a module in the folder returns for a sample, by stage; the last returned of each, by name."""
    config = {"name": "tried", "executor": "local", "job": {"class": job}, **sections}
    (folder / "config.yaml").write_text(json.dumps(config))
    monkeypatch.syspath_prepend(folder)
    main(["try", str(folder / "config.yaml"), "--samples", "1", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["ok"], shown
    return {stage["stage"]: {one["name"]: one for one in stage["returned"]} for stage in shown["stages"]}


def jpeg(size: tuple[int, int] = (64, 48)) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(file, "JPEG")
    return file.getvalue()


def test_the_job_over_tars(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    imports = "import io\n\nimport numpy as np\nfrom jobs import Job\nfrom PIL import Image\n\n\n"
    ending = '\n    def process(self, batch):\n        return {"mean": batch["image"].mean(axis=(1, 2, 3))}\n'
    (tmp_path / "captions.py").write_text(imports + python_with("manifest.md", "class Caption") + ending)
    write_tar(tmp_path / "train-000000.tar", [("a.jpg", jpeg()), ("a.txt", b"a red one")])
    stages = tried(
        tmp_path, capsys, monkeypatch, "captions:Caption", data={"manifest": "train-000000.tar"}, node={"batch_size": 1}
    )
    assert stages["load"]["image"]["shape"] == [48, 64, 3]
    assert stages["stored"]["mean"]["dtype"] == "float64"


def test_the_profile_of_the_page_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "profile.yaml").write_text(python_with("profiles.md", "lab42"))
    monkeypatch.setenv("LAUNCHER_PROFILE", str(tmp_path / "profile.yaml"))
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    config = load_config(write_config(tmp_path, 1))
    assert (config.retry.attempts, config.runs) == (5, str(tmp_path / "runs"))


def test_the_script_of_ones_own_is_bash(tmp_path: Path) -> None:
    script = python_with("environments.md", "conda activate tts")
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert "# launcher: command" in script


@pytest.mark.thorough
def test_the_job_that_goes_on_with_what_it_downloads(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    (tmp_path / "pixels.py").write_text(python_with("jobs.md", "class Pixels"))
    (tmp_path / "red.jpg").write_bytes(jpeg())
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (tmp_path / "photos.csv").write_text(f"url\nhttp://127.0.0.1:{server.server_port}/red.jpg\n")
        stages = tried(
            tmp_path,
            capsys,
            monkeypatch,
            "pixels:Pixels",
            data={"manifest": "photos.csv"},
            node={"batch_size": 1},
        )
        server.shutdown()
    assert stages["stored"]["pixels"]["shape"] == ["n", 32, 32, 3]


@pytest.mark.thorough
def test_the_job_that_asks_a_model_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "checking.py").write_text(python_with("jobs.md", "class Checked"))
    params = {"model": "none", "command": engine(tmp_path), "prompt": "say {x}"}
    config = write_config(tmp_path, 4, shards=1, job="checking:Checked", params=params)
    done = launcher(tmp_path, "run", config)
    assert done.returncode == 0, done.stdout + done.stderr
    from launcher import results

    with results.open(tmp_path / "runs" / "toy") as found:
        assert {"text", "draft"} <= set(found)
        assert "Correct your mistakes." in found["text"][0]
        assert "Correct your mistakes." not in found["draft"][0]


@pytest.mark.thorough
def test_the_job_that_takes_samples_one_by_one(tmp_path: Path) -> None:
    connect = """

class Answer:
    def __init__(self, text):
        self.text, self.ids = text.upper(), [1] * len(text)


class Engine:
    async def ask(self, item, seed):
        return Answer(item)


async def connect(devices):
    return Engine()


if __name__ == "__main__":
    from jobs import Hierarchy

    with Hierarchy(Summaries(), in_flight=4, workers=1, devices=["cpu"]) as model:
        print([(row["text"], int(row["n"])) for row in model.imap({"text": text} for text in ("a", "bc"))])
"""
    (tmp_path / "summaries.py").write_text(python_with("generation.md", "class Summaries") + connect)
    assert doc_pages.shell("python summaries.py", tmp_path) == "[('A', 1), ('BC', 2)]\n"


@pytest.mark.thorough
def test_results_are_read_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "encoding.py").write_text(
        "import numpy as np\nfrom jobs import Job\n\n\nclass Encode(Job):\n    def load(self, sample):\n"
        "        return float(sample['x'])\n\n    def process(self, batch):\n"
        "        tokens = [np.arange(int(x) % 5, dtype=np.int32) for x in batch]\n"
        "        return {'embedding': np.tile(batch[:, None], 384).astype(np.float32), 'tokens': tokens}\n"
    )
    config = YAML(typ="safe").load(write_config(tmp_path, 40, job="encoding:Encode").read_text())
    (tmp_path / "config.yaml").write_text(json.dumps({**config, "name": "docstrings"}))
    assert launcher(tmp_path, "run", "config.yaml").returncode == 0
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(python_with("results.md", "found.blocks(1000)"), names)
    assert len(names["block"]["id"]) == 40
    from launcher import results

    with results.open("docstrings") as found:
        assert found["embedding"].shape == (40, 384)
        np.testing.assert_array_equal(found["tokens"][7], np.arange(2))
    assert RunDir(tmp_path / "runs" / "docstrings").path.is_dir()
