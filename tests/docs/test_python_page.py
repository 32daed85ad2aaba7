"""docs/python.md: its blocks are the cells of a notebook: it plans, tries, submits to a real Slurm, follows, reads results."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import launcher
from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import ROOT
from tests.support.patience import PATIENCE

PAGE = (ROOT / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CELLS = [text for language, text in BLOCKS if language == "python"]
(TRIED,) = [text for language, text in BLOCKS if not language]
CHANGED = """
class Lengths(Job):
    def load(self, sample):
        return len(sample["text"])

    def process(self, batch):
        return {"length": -batch}

try:
    launcher.plan(Lengths(), samples, name="lengths", shards=4, data={"id": "id"}, slurm={"mem": "600M", "time": "10:00"})
except Exception as error:
    print(type(error).__name__, str(error).splitlines()[1:3])
"""
AWAITED = "print((await run.wait_async()).state, 'ipywidgets' in sys.modules)"


class Notebook:
    """A kernel, and what its cells have shown."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, cell: str) -> tuple[str, list[str]]:
        """What a cell prints, with the text of the value of its last line, and the HTML that it shows."""
        text: list[str] = []
        shown: list[str] = []

        def keep(message: Any) -> None:
            content = message["content"]
            text.append(content.get("text", ""))
            data = content.get("data", {})
            shown.extend([data["text/html"]] if "text/html" in data else [])
            text.extend([data["text/plain"]] if message["msg_type"] == "execute_result" else [])

        reply = self._client.execute_interactive(cell, timeout=PATIENCE, output_hook=keep)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(text), shown


@pytest.fixture
def notebook(clean_slurm: SlurmCluster, tmp_path: Path) -> Iterator[Notebook]:
    from jupyter_client.manager import run_kernel

    environment = {**os.environ, **clean_slurm.env, "PYTHONPATH": str(ROOT)}
    with run_kernel(cwd=str(tmp_path), env=environment) as client:
        yield Notebook(client)


@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
def test_the_blocks_run_as_cells_of_a_notebook(notebook: Notebook, tmp_path: Path) -> None:
    planned, tried, followed, opened, mapped = CELLS
    assert notebook.run(planned) == ("", [])
    text, _ = notebook.run(tried)
    timeless = re.compile(r"\d+\.\d{3} s")
    assert timeless.sub("", text).startswith(timeless.sub("", TRIED))
    text, views = notebook.run(followed)
    assert re.search(r"submission 1: 4 shards, \d array tasks?, Slurm job \d+", text)
    assert "complete 100\n" in text
    assert text.endswith("['doc0', 'doc1', 'doc2'] [0.0, 0.5, 1.0]\n")
    assert '<progress value="100" max="100"' in views[-1]
    text, _ = notebook.run(opened)
    assert re.match(r"\[\] 0\n[\d-]{10} [\d:]{8} task +samples ", text)
    text, views = notebook.run(mapped)
    assert (text, views) == ("[324, 361]\n", [])
    assert notebook.run(f"import sys\n{AWAITED}")[0] == "complete False\n"

    text, _ = notebook.run(CHANGED)
    assert text.startswith("InputError")
    assert "job_of_notebook.py changed since the plan" in text
    (module,) = (tmp_path / "runs" / "lengths" / "given").glob("*/*.py")
    assert module.read_text().startswith(
        '"""Lengths of this notebook, and what it uses there; written by launcher.plan."""'
    )


def test_every_method_of_a_run_is_in_the_table() -> None:
    told = set(re.findall(r"`(?:await )?run\.(\w+)", PAGE.partition("| | |")[2].partition("\n\n")[0]))
    assert told == {name for name in vars(launcher.Run) if not name.startswith("_")} | {"notes"}
