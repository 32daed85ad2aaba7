"""Closed streams, terminals of few characters, and names that are no text: no command ends in a traceback."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from tests.support.instant_executor import InstantExecutor, instant_executor
from tests.support.launcher_runs import command, environment, in_process, run_of, wait_until, write_config
from tests.support.patience import PATIENCE

JOB = """
import os
from jobs.job import Job

class Odd(Job):
    def load(self, sample):
        if sample["x"] == 5:
            raise ValueError("cannot read " + os.fsdecode(b"caf\\xe9 ") + "größe-日本.jpg \\ud800")
        return sample["x"]

    def process(self, batch):
        print("größe-日本 " + os.fsdecode(b"caf\\xe9"))
        return {"y": batch}
"""


def write_job(folder: Path) -> Path:
    config = write_config(folder, rows=20, shards=2, job="odd_job:Odd", node={"max_failed_samples": 3})
    (folder / "odd_job.py").write_text(JOB)
    return config


def shell(folder: Path, text: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """A command of the launcher with redirections of sh: ``"$@" >&-``."""
    return subprocess.run(
        ["sh", "-c", text, "sh", *command(*arguments)],
        cwd=folder,
        env={**environment(), **variables},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_problem(tmp_path: Path, closed: str) -> None:
    config = write_config(tmp_path, rows=20, shards=2)
    done = shell(tmp_path, f'"$@" {closed}', "submit", config)
    assert done.returncode == 0, done.stderr
    wait_until(run_of(config).result.exists)
    assert shell(tmp_path, f'"$@" {closed}', "status", "toy").returncode == 0
    # Nothing that was printed is in a file that took the number of a stream.
    for path in run_of(config).path.rglob("*.json"):
        json.loads(path.read_text())
    assert shell(tmp_path, f'"$@" {closed}', "status", "nowhere").returncode == 2


def test_output_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    done = shell(tmp_path, '"$@" >/dev/full', "list")
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose messages have all kinds of characters, made where the encoding has few of them."""
    folder = tmp_path_factory.mktemp("streams")
    write_job(folder)
    done = shell(folder, '"$@"', "run", "config.yaml", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("encoding", ["utf-8:strict", "iso-8859-1", "ascii"])
def test_messages_of_any_characters_are_shown_in_some_way(complete: Path, encoding: str) -> None:
    shown = shell(complete, '"$@"', "status", "toy", PYTHONIOENCODING=encoding)
    assert shown.returncode == 0, shown.stderr
    assert rb"cannot read caf\udce9" in shown.stdout
    assert {
        "utf-8:strict": "größe-日本".encode(),
        "iso-8859-1": b"gr\xf6\xdfe-\\u65e5",
        "ascii": b"gr\\xf6\\xdfe-\\u65e5",
    }[encoding] in shown.stdout


def test_a_narrow_terminal_is_no_problem(complete: Path) -> None:
    watch = " ".join(command("status", "toy", "--watch"))
    done = shell(complete, f"COLUMNS=40 LINES=5 script -qec '{watch}' /dev/null")
    assert done.returncode == 0, done.stdout
    assert b"Traceback" not in done.stdout


def test_names_that_are_no_text_are_told_and_end_nothing_in_a_traceback(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xff"))
    write_job(folder)
    refused = shell(folder, '"$@"', "run", "config.yaml")
    assert refused.returncode == 2
    assert rb"/caf\udce9 \udcff" in refused.stderr
    assert b"no UTF-8 text" in refused.stderr
    # What needs no library that would mind goes on.
    elsewhere = shell(folder, '"$@"', "run", write_config(tmp_path / "fine", rows=20, shards=2))
    assert elsewhere.returncode == 0, elsewhere.stderr
    run = os.path.relpath(tmp_path / "fine/runs/toy", folder)
    unknown = os.fsdecode(b"caf\xe9")
    for arguments in (["status", run], ["list"], ["logs", run, "0"], ["verify", run], ["status", unknown]):
        done = shell(folder, '"$@"', *arguments)
        assert done.returncode == (2 if unknown in arguments else 0), (arguments, done.stderr)
        assert b"Traceback" not in done.stderr


def test_a_name_that_is_text_in_another_locale_is_not_to_be_renamed(tmp_path: Path) -> None:
    config = write_config(tmp_path / "é")
    refused = shell(config.parent, '"$@"', "plan", "config.yaml", LC_ALL="C", PYTHONUTF8="0")
    assert refused.returncode == 2
    assert b"takes names of files for ascii here, by the locale: export LC_ALL=C.UTF-8" in refused.stderr


class LatinScripts:
    """As a scheduler makes them of a template that is older than UTF-8."""

    def write(self, run: RunDir, submission: Submission) -> Path:
        path = run.submissions / "0001.sbatch"
        path.write_bytes(b"#!/bin/bash\n# Universit\xe9\n")
        return path

    def check(self, script: Path) -> None:
        return None


def test_a_script_that_is_no_utf8_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(tmp_path, executor="instant")
    monkeypatch.setattr(InstantExecutor, "scripts", LatinScripts())
    with instant_executor():
        shown = in_process(tmp_path, "plan", config, "--script")
        told = in_process(tmp_path, "plan", config, "--json")
    text = os.fsdecode(b"#!/bin/bash\n# Universit\xe9\n")
    assert shown.stdout.startswith(text)
    assert json.loads(told.stdout)["scripts"][0]["text"] == text
