"""Configs and commands for tests of the launcher: real files, real processes."""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from tests.support import warm_launcher
from tests.support.documents import check_document
from tests.support.examples import THOROUGH
from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]


def write_config(
    folder: Path, rows: int = 100, *, shards: int | None = 4, job: str = "Toy", params: Any = None, **sections: Any
) -> Path:
    """A config (JSON is YAML) of a toy Job over a CSV with the column ``x`` = 0, 1, 2 ...; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.csv").write_text("x\n" + "".join(f"{row}\n" for row in range(rows)))
    node = {"workers": 1, "batch_size": 8, "max_failed_samples": 0, "sync_interval": 0.2, **sections.pop("node", {})}
    config = {
        "name": "toy",
        "job": {"class": job if ":" in job else f"tests.example_jobs.toy_jobs:{job}", "params": params or {}},
        "data": {"manifest": "data.csv", "shards": shards, **sections.pop("data", {})},
        "node": node,
        "executor": "local",
        "local": {"parallelism": 2},
        **sections,
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))
    return path


def run_of(config: Path) -> RunDir:
    return RunDir(config.parent / "runs" / json.loads(config.read_text())["name"])


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-P", "-m", "launcher", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def launcher(
    folder: Path, *arguments: object, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command of the launcher in a folder, to its end; its environment has these variables too.

    Each night Python is started for it; else it is a fork of a process that has imported what commands need.
    """
    known = {**environment(), **(variables or {})}
    forked = None if THOROUGH else warm_launcher.run(folder, list(map(str, arguments)), known, PATIENCE)
    return forked or subprocess.run(
        command(*arguments),
        cwd=folder,
        env=known,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def in_process(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The same in this process, for commands that only read, check or refuse: Python's start takes far longer than they do."""
    from launcher.cli import main

    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with contextlib.chdir(folder), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            code = main(list(map(str, arguments)))
        except SystemExit as end:  # argparse's, after --help
            code = int(end.code or 0)
    stdout.seek(0)
    stderr.seek(0)
    return subprocess.CompletedProcess(command(*arguments), code, stdout.read(), stderr.read())


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Starts a command of the launcher, in a session of its own as in a terminal."""
    return subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[str]) -> None:
    """kill -9 of a command that was started; what it had started may still have its output, so that is not read."""
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


def document(done: subprocess.CompletedProcess[str]) -> Mapping[str, Any]:
    """The JSON document on stdout, which is what its type says."""
    found: Mapping[str, Any] = json.loads(done.stdout)
    check_document(done.args[done.args.index("launcher") + 1], found)
    return found


def status(folder: Path, run: RunDir) -> Mapping[str, Any]:
    return document(in_process(folder, "status", run.path, "--json"))


def newest(run: RunDir) -> Submission:
    return Submission.read(run.submission(run.submission_numbers()[-1]))


def executor_pid(run: RunDir) -> int:
    """The process of the local executor that has the newest submission."""
    process = newest(run).process
    assert process is not None
    return int(process["pid"])


def datasets(path: Path) -> dict[str, np.ndarray]:
    """Everything in a result but its provenance."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        assert file.attrs["complete"]
    return found


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Waits for a condition; fails where it does not come to hold. To look costs: after long waits it looks less often."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < seconds, "the condition did not come to hold in time"
        time.sleep(min(max(0.02, waited / 20), 0.2))
