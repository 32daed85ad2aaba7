"""A command that is forked does what one does that is started."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import warm_launcher
from tests.support.launcher_runs import command, environment, write_config
from tests.support.patience import PATIENCE


@pytest.mark.parametrize("arguments", [["plan", "config.yaml"], ["status", "nothing"]])
def test_it_says_and_ends_as_one_that_is_started(tmp_path: Path, arguments: list[str]) -> None:
    write_config(tmp_path)
    forked = warm_launcher.run(tmp_path, arguments, environment(), PATIENCE)
    assert forked
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)
    started = subprocess.run(command(*arguments), cwd=tmp_path, env=environment(), capture_output=True, text=True)
    found, expected = ((done.returncode, done.stdout, said(done.stderr)) for done in (forked, started))
    assert found == expected


def said(stderr: str) -> list[str]:
    """Without what a command was at for long, on a loaded machine."""
    return [line for line in stderr.splitlines() if not line.endswith(" ...")]


def test_what_python_heeds_at_its_start_needs_a_start(tmp_path: Path) -> None:
    known = {**environment(), "PYTHONWARNINGS": "error"}
    assert warm_launcher.run(tmp_path, ["--version"], known, PATIENCE) is None


def test_one_that_hangs_is_killed(tmp_path: Path) -> None:
    write_config(tmp_path, rows=8000, params={"delay": 0.05})
    assert warm_launcher.run(tmp_path, ["--version"], environment(), PATIENCE)  # who forks is there
    with pytest.raises(subprocess.TimeoutExpired):
        warm_launcher.run(tmp_path, ["run", "config.yaml"], environment(), 5.0)
