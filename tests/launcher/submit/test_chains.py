"""Runs that come after each other: each begins when those before it are complete, whoever completes them, and says so."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from jobs.storage.attempts import Attempts
from jobs.storage.plans import Plan
from launcher import results
from launcher.runs.downstream import how_it_waits
from launcher.status.reader import StatusReader
from tests.support.chains import run_in, write_rows, write_run
from tests.support.launcher_runs import document, environment, launcher, wait_until
from tests.support.patience import PATIENCE

JOBS = "tests.example_jobs.chain_jobs"
BAD = [3, 17]
CHAIN = ("fetch.yaml", "embed.yaml", "index.yaml")


def write_chain(folder: Path, **params: Any) -> None:
    """Three configs; ``params`` are of the first Job. The second fails while there is a file ``broken``."""
    broken = str(folder / "broken")
    write_run(folder, "fetch", write_rows(folder), f"{JOBS}:Fetch", {"bad": BAD, **params})
    write_run(folder, "embed", {"run": "fetch", "outputs": ["text"]}, f"{JOBS}:Embed", {"broken": broken})
    write_run(folder, "index", {"run": "embed", "outputs": ["vector"]}, f"{JOBS}:Index")


def ok(folder: Path, *arguments: object) -> str:
    done = launcher(folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def state(folder: Path, name: str) -> str:
    run = run_in(folder, name)
    return StatusReader(run).read().state if run.plan.exists() else "nothing"


def is_waiting(folder: Path, name: str) -> bool:
    run = run_in(folder, name)
    return how_it_waits(run, Plan.read(run.plan)) is not None


def check_index(folder: Path) -> None:
    """The last result is of all samples but those that failed first."""
    x = np.array([x for x in range(40) if x not in BAD])
    with results.open(run_in(folder, "index").path) as found:
        assert list(found.ids) == [str(one) for one in x]
        np.testing.assert_array_equal(found["sum"], x + [len(f"{one} " * (one % 4)) for one in x.tolist()])


def test_run_does_them_in_order_and_stops_at_the_first_that_is_not_complete(tmp_path: Path) -> None:
    write_chain(tmp_path)
    (tmp_path / "broken").touch()
    stopped = launcher(tmp_path, "run", *reversed(CHAIN), "--json")
    assert stopped.returncode == 1
    assert "left out: 2 samples that failed in fetch, see `launcher errors fetch`" in stopped.stderr
    assert "not begun, since they come after embed: index.yaml" in stopped.stderr
    assert [one["state"] for one in document(stopped)["runs"]] == ["complete", "failed"]
    (tmp_path / "broken").unlink()
    said = ok(tmp_path, "run", *CHAIN)
    check_index(tmp_path)
    lines = said.splitlines()[-4:-1]
    assert [line.split(":")[0] for line in lines] == [
        "  after fetch  complete, 2 of 40 samples failed, shards 4 done",
        "  after embed  complete",
        "index  complete",
    ]


def test_submitted_together_each_goes_on_when_the_one_before_is_complete(tmp_path: Path) -> None:
    """A failing one in the middle is told, and once it is healed the rest goes on by itself."""
    write_chain(tmp_path, gate=str(tmp_path / "gate"))
    (tmp_path / "broken").touch()
    found = document(launcher(tmp_path, "submit", *CHAIN, "--json"))["runs"]
    assert [one["submission"] for one in found] == [1, None, None]
    lines = ok(tmp_path, "status", "index").splitlines()
    assert "  waits for fetch, which is running, and is submitted by itself once that is complete" in lines
    (tmp_path / "gate").touch()
    wait_until(lambda: state(tmp_path, "embed") == "failed")
    said = launcher(tmp_path, "status", "index", "--watch").stdout  # nothing goes on
    assert "  waits for embed, which failed, and is submitted by itself once that is complete" in said
    assert said.splitlines()[-1] == "next: launcher rerun embed, once its cause is mended: launcher logs embed 0"
    assert not is_waiting(tmp_path, "embed")
    (tmp_path / "broken").unlink()
    ok(tmp_path, "rerun", "embed")
    assert "index  complete: 38 of 38" in ok(tmp_path, "status", "index", "--watch")
    check_index(tmp_path)
    assert not is_waiting(tmp_path, "index")


def test_two_who_see_its_turn_at_once_start_it_once(tmp_path: Path) -> None:
    write_chain(tmp_path)
    ok(tmp_path, "plan", "fetch.yaml")
    ok(tmp_path, "submit", "embed.yaml")
    run, before = run_in(tmp_path, "embed"), run_in(tmp_path, "fetch")
    (note,) = before.downstream.iterdir()
    kept = note.read_bytes()
    note.unlink()
    ok(tmp_path, "run", "fetch")
    note.write_bytes(kept)
    imports = (
        "from pathlib import Path; from jobs.storage.rundir import RunDir; from launcher.submit.downstream import *"
    )
    command = [sys.executable, "-P", "-c", f"{imports}; start_waiting(RunDir(Path({str(before.path)!r})))"]
    both = [subprocess.Popen(command, cwd=tmp_path, env=environment()) for _ in range(2)]
    assert [process.wait(PATIENCE) for process in both] == [0, 0]
    wait_until(lambda: state(tmp_path, "embed") == "complete")
    done = [attempt.beat.done for attempt in Attempts(run).read()]
    assert sum(rows.count for rows in done) == Plan.read(run.plan).rows == 38
    assert not how_it_waits(run, Plan.read(run.plan))
