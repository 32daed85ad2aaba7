"""A Job that is defined in the script that runs: a script is run as users run it, changed, and run again."""

import os
import subprocess
import sys
from pathlib import Path

from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.config.config import load_config
from launcher.plan.plan import make_plan
from tests.support.launcher_runs import ROOT
from tests.support.patience import PATIENCE

HELPER = "def triple(x):\n    return 3 * x\n"
SCRIPT = '''
import sys

import numpy as np
from helper import triple

import launcher
from jobs import Job

FACTOR = 2


def scaled(x):
    return triple(x) * FACTOR


class Scaled(Job):
    """Of the script's own."""

    def __init__(self, add: int):
        self.add = add

    def load(self, sample):
        if sample["x"] == 3:
            raise ValueError("a bad one")
        return scaled(sample["x"]) + self.add

    def process(self, batch):
        return {"y": batch, "file": [__file__] * len(batch)}


samples = [{"x": number} for number in range(12)]
node = {"workers": 0, "batch_size": 4, "max_failed_samples": 1}
options = {"executor": "local", "local": {"parallelism": 1}, "node": node}
way = {name: True for name in sys.argv[1:]}
run = launcher.plan(Scaled(add=1), samples, name="scaled", shards=2, **options, **way)
print(*run.notes)
run.submit()
run.wait()
with run.results() as found:
    print(found["y"].tolist(), found["file"][0])
print([(error.row, error.kind, error.message) for error in run.errors()])
'''


def call(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs the script from another folder than its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "scripts/embed-all.py", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / "scripts" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_a_job_of_a_script_runs_and_a_change_of_it_is_noticed(tmp_path: Path) -> None:
    script = write(tmp_path, "embed-all.py", SCRIPT)
    write(tmp_path, "helper.py", HELPER)
    done = call(tmp_path)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    values = [6 * x + 1 if x != 3 else 0 for x in range(12)]
    assert shown[-2] == f"{values} {script}"
    assert shown[-1] == "[(3, <SampleFailureKind.LOAD: 'LOAD'>, 'ValueError: a bad one')]"
    assert "Job of" not in done.stderr

    run = RunDir(tmp_path / "runs" / "scaled")
    (module,) = run.given.glob("*/*.py")
    text = module.read_text()
    assert '"""Scaled of embed-all.py, and what it uses there; written by launcher.plan."""' in text
    assert "import sys" not in text
    assert set(Plan.read(run.plan).code) == {"job_of_embed_all.py", "helper.py"}
    assert not make_plan(load_config(run.config)).is_new

    script.write_text(SCRIPT.replace("FACTOR = 2", "FACTOR = 4"))
    refused = call(tmp_path)
    assert refused.returncode == 1
    assert "  job_of_embed_all.py changed since the plan of" in refused.stderr
    again = call(tmp_path, "fresh")
    assert again.returncode == 0, again.stderr
    assert "planned anew: job_of_embed_all.py changed" in again.stdout
    assert str([12 * x + 1 if x != 3 else 0 for x in range(12)]) in again.stdout
    (other,) = run.given.glob("*/*.py")
    assert other != module, "what the plan before was given went with it"


REFUSED = """
import sys
from types import SimpleNamespace

import numpy as np

import launcher
from jobs import Job
from jobs.errors import InputError

STREAM = open(__file__)


class Plain(Job):
    def __init__(self, size: int = 1, more: object = None):
        self.size = size

    def process(self, batch):
        return {}


class Reading(Plain):
    def load(self, sample):
        return STREAM.read()


def made():
    class Inner(Job):
        pass
    return Inner


def told(job, samples=({"x": 1},), **sections):
    try:
        print(launcher.plan(job, samples, name="refused", executor="local", **sections))
    except InputError as error:
        print(error)


told(Reading())
told(Plain(more=np.zeros(2)))
told(Plain(size="1"))
told(Plain(), [{"x": number if number < 5 else sys} for number in range(6)])
told(Plain(), nod={})
told(Plain(), data=["x"])
told(Plain(), node={"workers": SimpleNamespace()})
told(made())
told(print)
try:
    launcher.map(lambda x: x, [1])
except InputError as error:
    print(error)
"""
MESSAGES = [
    "Reading uses STREAM, a TextIOWrapper of {script}, which no other process has: make it in setup(), pass it as an "
    "argument of the Job, or put it into a module that is imported",
    "job: Plain(more=...): a ndarray is no plain value; valid: text, a number, a bool, None, a path, or a list, tuple or "
    "mapping of these; make what is none in setup()",
    'launcher.plan: job.params.size: must be a whole number, not "1"',
    "samples: row 5, column 'x': a module is no plain value, or of another type than those before it",
    "launcher.plan: nod: unknown key. Did you mean node?",
    "launcher.plan: data: must be a mapping of keys below it, not ['x']",
    "launcher.plan: node: a SimpleNamespace is no plain value",
    "Inner: which is defined inside a function: define it at the top level of a file or cell",
    "job: a builtin_function_or_method is not valid; valid: a Job, or a class of Jobs; a function: launcher.map",
    "function: a lambda has no name by which another process could have it: write it with def",
]


def test_what_cannot_be_planned_is_one_message_each_and_leaves_nothing(tmp_path: Path) -> None:
    script = write(tmp_path, "embed-all.py", REFUSED)
    done = call(tmp_path)
    assert done.returncode == 0, done.stderr
    for line, message in zip(done.stdout.splitlines(), MESSAGES, strict=True):
        assert line.startswith(message.format(script=script)), line
    assert not (tmp_path / "runs").exists()
