"""What others wrote, ids and messages and logs, does nothing to a terminal; programs get it as it is."""

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.visible import on_one_line, visible
from tests.support.launcher_runs import command, environment, launcher, run_of, write_config

EVIL = "\x1b]0;owned\x07\x1b[2J\u202egpj.exe\u2066\u200f\x9b31m"
JOB = f"""
from jobs import Job


class Speaks(Job):
    def load(self, sample):
        print({EVIL!r}, flush=True)
        raise ValueError({EVIL!r} + "\\nlauncher: all is well")

    def process(self, batch):
        return {{"x": batch["x"]}}
"""


@given(st.text())
def test_what_is_shown_has_no_commands_for_a_terminal(text: str) -> None:
    assert on_one_line(text).isprintable()
    assert all(one.isprintable() or one in "\n\t" for one in visible(text))
    assert visible(text) == text or not text.isprintable()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run all of whose samples failed with such a message."""
    folder = tmp_path_factory.mktemp("evil")
    (folder / "speaks.py").write_text(JOB)
    node = {"max_failed_samples": 1.0}
    config = write_config(folder, 8, shards=1, job="speaks:Speaks", node=node)
    done = launcher(folder, "run", config)
    assert clean(done.stdout + done.stderr)
    return config


def clean(text: str) -> bool:
    return all(one.isprintable() or one in "\n\t" for one in text)


def on_terminal(folder: Path, *arguments: object) -> str:
    """What a terminal gets of a command."""
    master, slave = pty.openpty()
    child = subprocess.Popen(command(*arguments), cwd=folder, env=environment(), stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 4096):
            shown += piece
    except OSError:  # so a terminal ends whose last process has gone
        pass
    child.wait()
    os.close(master)
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("name", ["status", "list", "verify", "gather", "logs"])
def test_a_terminal_gets_none_of_it(config: Path, name: str) -> None:
    run = run_of(config)
    special: dict[str, list[object]] = {"list": [run.path.parent], "logs": [run.path, 0]}
    arguments = special.get(name, [run.path])
    shown = on_terminal(config.parent, name, *arguments)
    assert clean(shown), repr(shown)
    assert "\nlauncher: all is well" not in shown or name == "logs"
    if name in ("status", "logs"):
        assert "\\x1b]0;owned" in shown


def test_programs_get_it_as_it_is(config: Path) -> None:
    done = launcher(config.parent, "status", run_of(config).path, "--json")
    assert any(EVIL in group["message"] for group in json.loads(done.stdout)["failures"])
    piped = launcher(config.parent, "logs", run_of(config).path, 0)
    assert EVIL in piped.stdout


def test_an_error_that_names_an_evil_file_is_safe(tmp_path: Path) -> None:
    done = launcher(tmp_path, "status", f"no-run-{EVIL}")
    assert done.returncode == 2
    assert clean(done.stderr), repr(done.stderr)
