"""docs/chains.md: its example on a real Slurm: the run in the middle fails, is healed, and the last one goes on by itself."""

import re
from pathlib import Path

import numpy as np
import pytest

from jobs.storage.rundir import RunDir
from launcher import results
from launcher.status.reader import StatusReader
from tests.slurm_cluster import SlurmCluster
from tests.support.chains import run_in
from tests.support.failing_server import Served, body, serving
from tests.support.launcher_runs import ROOT, launcher, wait_until
from tests.support.slurm_runs import use_cluster

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

PAGE = (ROOT / "docs" / "chains.md").read_text()
EXAMPLE = PAGE.partition("## An example")[2].partition("\n## ")[0]
MISSING = [7, 30]


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", EXAMPLE, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def write_example(folder: Path, server: Served) -> list[str]:
    """The files of the page, and urls of which two are not there; returns the urls."""
    for text in (*blocks("yaml"), *blocks("python")):
        (folder / text.partition("\n")[0].removeprefix("# ")).write_text(text)
    targets = [f"/{'missing' if number in MISSING else 'ok'}/{number}?size=200" for number in range(40)]
    urls = [f"{server.base}{target}" for target in targets]
    (folder / "urls.csv").write_text("\n".join(["url", *urls]) + "\n")
    return targets


def do(folder: Path, command: str) -> str:
    """A line of the page."""
    name, *arguments = command.split()
    if name == "echo":
        text, _, path = command.removeprefix("echo ").partition(" > ")
        (folder / path).write_text(text.strip('"'))
        return ""
    assert name == "launcher"
    return launcher(folder, *arguments).stdout


def state(run: RunDir) -> str:
    return StatusReader(run).read().state


@pytest.mark.thorough
def test_the_example_runs_on_slurm(clean_slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_cluster(clean_slurm, monkeypatch)
    (tmp_path / "profile.yaml").write_text("slurm: {mem: 500M, array_parallelism: 2}\n")
    monkeypatch.setenv("LAUNCHER_PROFILE", str(tmp_path / "profile.yaml"))
    submitting, healing = blocks("sh")
    begun, failed = blocks("")
    with serving() as server:
        targets = write_example(tmp_path, server)
        submit, look = submitting.splitlines()
        do(tmp_path, submit)
        shown = do(tmp_path, look).splitlines()
        assert [re.sub(r" .*", "", line.strip()) for line in shown[:3]] == ["after", "after", "sums"]
        if "pages, which is running" in shown[3]:  # it may have been quick
            assert shown[3:] == begun.splitlines()[3:]
        wait_until(lambda: state(run_in(tmp_path, "letters")) == "failed")
        assert do(tmp_path, look) == failed
        for line in healing.splitlines():
            shown = do(tmp_path, line).splitlines()
    assert "sums  complete: 38 of 38 samples (100%), shards 2 done" in shown
    kept = [number for number in range(40) if number not in MISSING]
    counts = np.array([[body(targets[number]).count(letter) for letter in (b"a", b"e", b"o")] for number in kept])
    assert counts.sum() > 0
    with results.open(run_in(tmp_path, "letters").path) as found:
        np.testing.assert_array_equal(found["counts"], counts)
    with results.open(run_in(tmp_path, "sums").path) as found:
        np.testing.assert_array_equal(found["total"], counts.sum(axis=1))
        assert [one.partition("?")[0].rpartition("/")[2] for one in found.ids] == list(map(str, kept))
        assert found.summary["letters"] == counts.sum()
    assert launcher(tmp_path, "verify", "sums").returncode == 0
