"""What reaches an sbatch script is a word of it, whatever it holds: bash is asked."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import InputError
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Resources, Submission
from launcher.config.config import load_config
from launcher.plan.plan import make_plan
from launcher.slurm.scripts import array_script, finalize_script
from launcher.slurm.template import Template
from tests.support.launcher_runs import write_config

NASTY = [
    "a b",
    "a'b",
    'a"b',
    "$(touch pwned)",
    "`touch pwned`",
    "${HOME}",
    "a;touch pwned",
    "a\\b",
    "a}b",
    "ü ñ",
    "a\n#b",
]
SUBMISSION = Submission(1, "slurm", 0.0, 1, Spans([(0, 1)]), ((0, 1),), NodeSettings(), Resources())
# Takes the place of the Python of array tasks and finalize jobs: says what it was called with.
ECHO = '#!/bin/sh\nfor word in "$0" "$@"; do printf "%s\\0" "$word"; done\n'


def words_of(script: str, folder: Path) -> list[str]:
    """What a script calls, as bash reads it."""
    path = folder / "script.sh"
    path.write_text(script)
    done = subprocess.run(["bash", path], cwd=folder, capture_output=True, text=True, check=True)
    assert not (folder / "pwned").exists()
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize("nasty", NASTY)
def test_paths_of_run_and_python_reach_the_task_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nasty: str
) -> None:
    python = tmp_path / f"python {nasty}"
    python.write_text(ECHO)
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    # Slurm itself writes no log into a folder with a backslash.
    config = load_config(
        write_config(tmp_path, executor="slurm", runs="runs " + nasty.replace("\\", "").replace("$", "$$"))
    )
    run = make_plan(config).run
    if "\n" in nasty:  # the log is named in a directive, which is one line
        with pytest.raises(InputError, match=r"--output: .* is not one line"):
            array_script(run, config, SUBMISSION)
        return
    found = words_of(array_script(run, config, SUBMISSION), tmp_path)
    assert found == [str(python), "-P", "-m", "jobs", str(run.path), "1"]
    found = words_of(finalize_script(run, config, [replace(SUBMISSION, job_ids=("7",))]), tmp_path)
    assert found == [str(python), "-P", "-m", "launcher.slurm_finalize", str(run.path), "1"]


@pytest.mark.parametrize("nasty", [one for one in NASTY if "\n" not in one])
def test_options_reach_sbatch_as_they_are(tmp_path: Path, nasty: str) -> None:
    config = load_config(write_config(tmp_path, executor="slurm", slurm={"comment": nasty, "partition": nasty}))
    script = array_script(make_plan(config).run, config, SUBMISSION)
    assert Template(script, "script").options["comment"] == nasty
    assert Template(script, "script").options["partition"] == nasty


@pytest.mark.parametrize("value", ["a\ntouch pwned", "a\rtouch pwned", "a\u2028b", "a\x0bb"])
def test_an_option_of_two_lines_is_refused_wherever_it_comes_from(tmp_path: Path, value: str) -> None:
    with pytest.raises(InputError, match="must be one line of text"):
        load_config(write_config(tmp_path, executor="slurm", slurm={"comment": value}))
    config = load_config(write_config(tmp_path, executor="slurm"))
    retried = replace(SUBMISSION, resources=Resources(options={"exclude": value}))
    with pytest.raises(InputError, match=r"--exclude: .* is not one line"):
        array_script(make_plan(config).run, config, retried)
