"""TextGeneration with a real engine on the CPU: llama.cpp and a small model, where the packages of these are installed."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.storage.rundir import RunDir
from tests.support.launcher_runs import ROOT, wait_until
from tests.support.llama_engine import PACKAGES
from tests.support.patience import PATIENCE
from tests.support.task_runs import alive, command, content, failures, last_end, make_run, run_task, written

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(not all(map(find_spec, (*PACKAGES, "aiohttp"))), reason=f"needs {', '.join(PACKAGES)}, aiohttp"),
]
ROWS = 24


@pytest.fixture(autouse=True)
def _find_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


def generation(path: Path, **params: Any) -> RunDir:
    words = [sys.executable, "-m", "tests.support.llama_engine", "{socket}", "{in_flight}"]
    params = {"sampling": {"max_tokens": 12, "temperature": 0.8}, "start_timeout": PATIENCE, **params}
    params = {"model": "smollm2", "command": words, "prompt": "Tell me of the number {x}.", **params}
    return make_run(
        path, "jobs.text_generation:TextGeneration", ROWS, batch_size=1, params=params, in_flight=4, workers=1
    )


def test_answers_are_the_same_where_the_engine_was_killed(tmp_path: Path) -> None:
    reference = generation(tmp_path / "reference")
    assert run_task(reference).returncode == 0
    texts = {values["text"].decode() for _, values, _ in content(reference).values()}
    assert len(texts) == ROWS
    assert last_end(reference).counts["completion_tokens"] > ROWS
    run = generation(tmp_path / "run")
    task = psutil.Popen(command(run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: written(run) >= 4)
        words = "tests.support.llama_engine"
        (engine,) = [one for one in task.children(recursive=True) if words in one.cmdline()[:3]]
        engine.kill()
        assert task.wait(PATIENCE) == 0
    finally:
        if task.is_running():
            task.kill()
    assert not alive([engine])
    assert content(run) == content(reference)


def test_prompts_that_are_too_long_are_refused_and_nobody_is_replaced(tmp_path: Path) -> None:
    run = generation(tmp_path / "run", prompt="{x}" + " and on" * 1000)
    assert (
        run_task(run).returncode == 0
    )  # of so few all are done, and whoever reads the beats tells that too many failed
    assert failures(run).keys() == set(range(ROWS))
    assert {sample.message.partition(":")[0] for sample in failures(run).values()} == {"RequestFailed"}
