"""docs/tutorial.md, walked as its reader walks it, up to Slurm; and that on a real Slurm."""

from pathlib import Path

import pytest

from tests.slurm_cluster import SlurmCluster
from tests.support import doc_pages

PAGE = doc_pages.read("tutorial.md")


def test_the_tutorial_on_this_machine(tmp_path: Path) -> None:
    printed = doc_pages.walk(PAGE.partition("## On Slurm")[0], tmp_path)
    assert "words  complete: 40 of 40 samples (100%), shards 4 done" in printed[-2]


@pytest.mark.thorough
@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
def test_the_tutorial_on_slurm(clean_slurm: SlurmCluster, tmp_path: Path) -> None:
    before, _, after = PAGE.partition("## On Slurm")
    files = before.partition("## Try it")[0]
    changes = [f"```diff\n{block.text}```\n" for block in doc_pages.blocks(before) if block.language == "diff"]
    printed = doc_pages.walk("\n".join([files, *changes, after]), tmp_path, clean_slurm.env)
    assert "words-slurm  complete: 40 of 40 samples (100%), shards 4 done" in printed[-1]
