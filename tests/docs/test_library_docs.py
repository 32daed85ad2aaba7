"""The code of docs/library.md runs as scripts, prints what it promises, and leaves nothing behind."""

import re
from pathlib import Path

import pytest

from tests.support.hierarchy_scripts import run
from tests.support.launcher_runs import ROOT

TEXT = (ROOT / "docs" / "library.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SHOWN = [
    "333328333350000\n",
    "[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]\n",
    r"[012]\n",
    r"1 PROCESS ZeroDivisionError: division by zero\n2 PROCESS ValueError: invalid literal .* 'x'\n",
]


def test_every_block_is_run() -> None:
    assert len(BLOCKS) == len(SHOWN) == TEXT.count("```") // 2


@pytest.mark.parametrize("number", range(len(SHOWN)))
def test_a_block_prints_what_it_should(tmp_path: Path, number: int) -> None:
    shown = run(tmp_path, BLOCKS[number])
    assert shown == SHOWN[number] or re.fullmatch(SHOWN[number], shown)


@pytest.mark.gpu
def test_the_model_runs_on_a_gpu(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    text = BLOCKS[2].replace('["cpu", "cpu"]', '["cuda:0", "cpu"]')
    assert re.fullmatch(SHOWN[2], run(tmp_path, text))


def test_the_first_examples_are_three_lines_long() -> None:
    for block in BLOCKS[:2]:
        assert len([line for line in block.splitlines() if line]) == 3


def test_every_method_is_told() -> None:
    from jobs import Hierarchy

    methods = {name for name in vars(Hierarchy) if not name.startswith("_")} - {"close"}
    assert set(re.findall(r"^\| `(\w+)\(", TEXT, re.MULTILINE)) == methods
