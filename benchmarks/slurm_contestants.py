"""Contestants of slurm.py: each submits an array of trivial tasks to the test cluster from a fresh process.

A contestant is a command, how its results are counted, and what there is to do before the clock starts.
"""

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.slurm_peers import CPUS, GIBIBYTES, MINUTES
from jobs.storage.attempts import Attempts
from jobs.storage.rundir import RunDir
from jobs.storage.spans import union

_ROOT = Path(__file__).parents[1]
_ONE_LINE = 'import os; print(int(os.environ["SLURM_ARRAY_TASK_ID"]) ** 2)'


@dataclass(frozen=True)
class Contestant:
    """``command(tasks, folder, hold)`` submits; ``prepare`` and the command ``first`` come before the clock starts.

    The command ``follow`` stays until all has ended. ``results`` counts the results below the folder; ``end`` is the glob
    of what is there when nothing follows.
    """

    command: Callable[[int, Path, bool], list[str]]
    results: Callable[[Path], int]
    prepare: Callable[[int, Path, bool], None] = lambda tasks, folder, hold: None
    first: Callable[[Path], list[str]] | None = None
    follow: Callable[[Path], list[str]] | None = None
    end: str | None = None


def _files(pattern: str) -> Callable[[Path], int]:
    """Counts files of which there is one for each result; one in the folder itself once something is in it."""

    def count(folder: Path) -> int:
        return sum(path.stat().st_size > 0 or path.parent != folder for path in folder.glob(pattern))

    return count


def _durable_rows(folder: Path) -> int:
    return union(attempt.beat.done for attempt in Attempts(RunDir(folder)).read()).count


def _launcher(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "launcher", *arguments]


def _write_config(tasks: int, folder: Path, hold: bool) -> None:
    """The config and its manifest: what the user brings, beside the folder of what is made."""
    (folder.parent / "data.csv").write_text("x\n" + "".join(f"{number}\n" for number in range(tasks)))
    asked = {"mem": f"{GIBIBYTES}G", "time": MINUTES, "cpus_per_task": CPUS, "array_parallelism": tasks, "hold": hold}
    config = {
        "name": folder.name, "runs": ".",
        "job": {"class": "benchmarks.trivial:Square"},
        "data": {"manifest": "data.csv", "shards": tasks},
        "node": {"processes": 1, "workers": 0, "devices": "cpu"},
        "executor": "slurm", "slurm": asked,
    }  # fmt: skip
    (folder.parent / "config.yaml").write_text(json.dumps(config))


def _submit_config(tasks: int, folder: Path, hold: bool) -> list[str]:
    return _launcher("submit", str(folder.parent / "config.yaml"))


def _sbatch(tasks: int, folder: Path, hold: bool) -> list[str]:
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(_ONE_LINE)}"
    held = ["--hold"] if hold else []
    options = [f"--cpus-per-task={CPUS}", f"--mem={GIBIBYTES}G", f"--time={MINUTES}", f"--chdir={folder}"]
    return ["sbatch", *held, f"--array=0-{tasks - 1}", *options, f"--wrap={command}"]


def _peer(name: str) -> Callable[[int, Path, bool], list[str]]:
    def command(tasks: int, folder: Path, hold: bool) -> list[str]:
        held = ["--hold"] if hold else []
        return [sys.executable, "-m", "benchmarks.slurm_peers", name, str(tasks), str(folder), *held]

    return command


PLAIN, OURS, SUBMITIT, DATATROVE = "sbatch --array of python -c", "ours", "submitit map_array", "datatrove"

CONTESTANTS = {
    PLAIN: Contestant(_sbatch, _files("slurm-*.out")),
    OURS: Contestant(
        _submit_config,
        _durable_rows,
        _write_config,
        follow=lambda folder: _launcher("status", str(folder), "--watch"),
        end="submissions/*.outcome",
    ),
    SUBMITIT: Contestant(_peer("submitit"), _files("*_result.pkl")),
    DATATROVE: Contestant(_peer("datatrove"), _files("completions/*"), end="stats.json"),
}
if find_spec("datatrove") is None:
    del CONTESTANTS[DATATROVE]

PLANNED = Contestant(
    lambda tasks, folder, hold: _launcher("submit", str(folder)),
    CONTESTANTS[OURS].results,
    _write_config,
    first=lambda folder: _launcher("plan", str(folder.parent / "config.yaml")),
)
"""Ours, where the run was planned before."""
