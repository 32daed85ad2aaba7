"""launcher try: samples go through a Job in this process, and each stage tells its time, what it returned, how it failed."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from launcher import results
from launcher.cli import main
from launcher.config.config import load_config
from launcher.tryout.described import describe
from launcher.tryout.stages import Stage, StageFailed, Stages
from launcher.tryout.tryout import Chosen, Tried, try_config
from tests.support.launcher_runs import command, environment
from tests.support.patience import PATIENCE

JOB = """
import asyncio
import random
import time
import numpy as np
from jobs import Job


def parsed(x):
    return {"a": np.full(3, x, "f4"), "t": "word"}


class Mine(Job):
    def __init__(self, size: int = 3, broken: bool = False):
        if broken:
            raise ValueError("no such weights")
        self.size = size

    def load(self, sample):
        if sample["x"] == 1:
            raise KeyError("bad sample")
        return parsed(sample["x"])

    def process(self, batch):
        return {"y": batch["a"] * self.size, "words": batch["t"], "r": list(batch["a"])}


class Awaiting(Mine):
    async def load(self, sample):
        return parsed(sample["x"])


class Telling(Mine):
    def setup(self, context):
        raise OSError("no model")

    def setup_worker(self, context):
        print("index", context.worker_index)

    def teardown(self):
        print("torn down")


class Asking(Job):
    async def setup(self, context):
        self.where = f"{context.in_flight} {' '.join(context.devices)}"

    def load(self, sample):
        return {"x": sample["x"], "drawn": random.random()}

    async def process_sample(self, item, seed):
        if item["x"] == 1:
            raise KeyError("bad sample")
        value = item["x"] if item["x"] != 2 else str(item["x"])
        return {"v": value, "seed": seed, "drawn": item["drawn"], "ids": [1] * item["x"], "where": self.where}


class Blocking(Job):
    def load(self, sample):
        return sample["x"]

    async def process_sample(self, item, seed):
        await asyncio.sleep(1 - item)
        time.sleep(0.3 * item)
        return {"v": item}


class Apart(Mine):
    def setup(self, context):
        self.table = {}

    def load(self, sample):
        return self.table


class Drawing(Job):
    def load(self, sample):
        return {"x": sample["x"], "drawn": random.random()}

    def process(self, batch):
        own = random.random()
        print("drew", *batch["drawn"], own)
        kind = "f4" if 4 in batch["x"] else "f8"
        return {"drawn": batch["drawn"], "own": np.full(len(batch["x"]), own), "v": batch["x"].astype(kind)}
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: Python imports a module of a name once."""
    folder = tmp_path_factory.mktemp("tried")
    (folder / "my_tried_job.py").write_text(JOB)
    (folder / "data.csv").write_text("id,x\n" + "".join(f"s{x},{x}\n" for x in range(10)))
    text = (
        "name: mine\njob: {class: my_tried_job:Mine}\ndata: {manifest: data.csv, id: id, shards: 3}\nexecutor: local\n"
    )
    (folder / "config.yaml").write_text(text)
    return folder


@pytest.fixture
def folder(written: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(written)
    return written


def tried(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["try", "config.yaml", *arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def stages(text: str) -> list[str]:
    return [
        line.partition(":")[0]
        for line in text.splitlines()
        if line.endswith(" s") or " s -> " in line or ", raised" in line
    ]


def test_each_stage_tells_what_it_returned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = tried(capsys, "--shard", "1", "--samples", "2")
    assert code == 0
    loads = ["load 3 (s3)", "load 4 (s4)"]
    assert stages(out) == ["constructor", "setup_worker", "setup", *loads, "collate", "process", "stored", "teardown"]
    assert "  a: array float32 [3]  3, 3, 3\n  t: str [4]  'word'\n" in out
    assert "  y: array float32 [2, 3]  9, 9, 9, 12, ...\n" in out
    assert out.endswith(
        " s\n  y: array float32 [n, 3]\n  words: text\n  r: rows of any length float32 [n]\n"
        + out.splitlines()[-1]
        + "\n"
    )
    assert {path.name for path in folder.iterdir() if path.is_dir()} <= {"__pycache__", "planned"}


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (("a.wav", "b.wav"), ["x: tuple of str [2]  'a.wav', 'b.wav'"]),
        ((1, "a"), ["x[0]: int  1", "x[1]: str [1]  'a'"]),
        ((np.zeros(2), np.zeros(3)), ["x[0]: array float64 [2]  0, 0", "x[1]: array float64 [3]  0, 0, 0"]),
        (np.int32(7), ["x: int32  7"]),
    ],
)
def test_a_value_is_described_by_what_it_holds(value: object, lines: list[str]) -> None:
    assert list(map(str, describe(value, "x"))) == lines


def test_a_sample_that_fails_shows_the_users_own_frames_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = tried(capsys)
    assert code == 1
    assert "load 1 (s1)" in stages(out)
    frames = [line for line in out.splitlines() if line.startswith("  File ")]
    assert frames == [f'  File "{folder}/my_tried_job.py", line 21, in load']
    assert "KeyError: 'bad sample'" in out
    assert "  y: array float32 [2, 3]" in out, "the others go on"


def test_an_async_load_is_awaited(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = tried(capsys, "--set", "job.class=my_tried_job:Awaiting", "--row", "1")
    assert (code, out.count("load 1 (s1)")) == (0, 1)


def test_an_async_load_is_awaited_where_a_loop_runs(folder: Path) -> None:
    """As in a cell of a notebook."""

    async def cell() -> Tried:
        config = load_config(Path("config.yaml"), ["job.class=my_tried_job:Awaiting"])
        return try_config(config, Chosen(2), lambda stage: None)

    found = asyncio.run(cell())
    assert [stage.name for stage in found.stages].count("load") == 2
    assert found.stages[-1].name.startswith("teardown")


def test_an_interrupt_where_a_loop_runs_ends_what_it_waits_for() -> None:
    """As in a notebook: nothing goes on in another thread, where what follows would wait for it."""
    ended = []

    async def interrupted() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(True)

    async def notebook() -> None:
        with Stages(lambda stage: None) as stages, pytest.raises(KeyboardInterrupt):
            stages.run("process_sample", interrupted)

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(notebook())
    assert ended


def test_samples_are_taken_one_by_one_with_the_seeds_that_they_have_in_a_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--set", "job.class=my_tried_job:Asking", "--set", "runs=asked", "--set", "node.in_flight=5"]
    more = ["--set", "node.max_failed_samples=10", "--set", "node.max_same_failure=1.0", "--set", "data.shards=1"]
    code, out, _ = tried(capsys, *settings, "--samples", "4")
    assert code == 1
    done = [line for line in stages(out) if line.startswith(("process", "stored"))]
    names = [f"{name} {row} (s{row})" for row in range(4) for name in ("process_sample", "stored")]
    assert done == [name for name in names if name != "stored 1 (s1)"]
    assert next(line for line in out.splitlines() if line.startswith("  File ")) == (
        f'  File "{folder}/my_tried_job.py", line 53, in process_sample'
    )
    assert "During handling" not in out
    assert "output 'v' is utf-8 ragged [*]; the first batch had <i8 [n]" in out
    assert "  ids: rows of any length, all empty so far\n" in out
    assert "  ids: rows of any length int64 [n]\n" in out
    assert main(["run", "config.yaml", *settings, *more]) == 0
    with results.open("asked/mine") as found:
        assert f"  seed: int  {found['seed'][3]}\n  drawn: float  {found['drawn'][3]}\n" in out
        assert found["where"][3] == "5 cpu"
    assert "  where: str [5]  '5 cpu'\n" in out


def test_batches_that_begin_as_those_of_a_run_draw_the_same_and_have_one_form(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--set", "job.class=my_tried_job:Drawing", "--set", "runs=drawn", "--set", "node.batch_size=2"]
    more = ["--set", "node.max_failed_samples=2", "--set", "data.shards=1", "--set", "node.workers=1"]
    code, out, _ = tried(capsys, *settings, "--samples", "6")
    assert code == 1
    assert "output 'v' is <f4 [n]; the first batch had <f8 [n]" in out
    assert main(["run", "config.yaml", *settings, *more]) == 0
    drawn = [line.split()[1:] for line in out.splitlines() if line.startswith("drew ")]
    with results.open("drawn/mine") as found:
        for row in (0, 2):
            assert drawn[row // 2] == [str(value) for value in (*found["drawn"][row : row + 2], found["own"][row])]


@pytest.mark.parametrize(("workers", "index", "objects"), [(0, "None", 0), (2, "0", 1)])
def test_only_what_was_set_up_is_torn_down_where_setup_raised(
    folder: Path, capsys: pytest.CaptureFixture[str], workers: int, index: str, objects: int
) -> None:
    code, out, _ = tried(capsys, "--set", "job.class=my_tried_job:Telling", "--set", f"node.workers={workers}")
    assert (code, out.count("torn down"), f"index {index}" in out) == (1, objects, True)


def test_a_sample_that_holds_up_the_event_loop_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = tried(capsys, "--set", "job.class=my_tried_job:Blocking", "--samples", "2", "--json")
    held = [stage.get("held_up", 0) for stage in json.loads(out)["stages"] if stage["stage"] == "process_sample"]
    assert (code, len(held)) == (0, 2)
    assert held[0] < 1, "one that awaits a second holds up nobody"
    assert held[1] >= 0.3
    told = Stage("process_sample", 0.8, "1", held_up=held[1]).lines
    assert told[1].startswith("  the event loop was held up for ")
    assert len(Stage("process_sample", 0.8, "0", held_up=0.01).lines) == 1


@pytest.mark.timeout(0)  # which is such a timer
def test_a_timer_of_a_step_ends_that_one_at_most() -> None:
    """It ended the launcher, without a word."""

    def load(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        time.sleep(seconds)

    with Stages(lambda stage: None) as stages:
        stages.run("load", lambda: load(0), sample="0", show=None)
        stages.run("process", lambda: time.sleep(0.1), show=None)
        with contextlib.suppress(StageFailed):
            stages.run("load", lambda: load(60), sample="1")
    assert [stage.error for stage in stages.all] == [None, None, "TimeoutError: its timer ran out (signal.alarm)"]


def test_a_job_that_replaces_sockets_and_threads_is_told_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a run of it is."""
    config = {"name": "try", "job": {"class": "tests.example_jobs.leaving_jobs:Patching", "params": {"where": "setup"}}}
    path = folder / "patching.yaml"
    path.write_text(json.dumps({**config, "data": {"manifest": "data.csv"}, "executor": "local"}))
    try:
        assert main(["try", str(path)]) == 2
    finally:
        sys.modules.pop("gevent.monkey", None)
    assert "gevent replaces Python's sockets and threads here" in capsys.readouterr().err


def test_what_one_process_keeps_the_other_has_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As in a run: setup is the process's, and load the pool worker's."""
    code, out, _ = tried(capsys, "--set", "job.class=my_tried_job:Apart")
    assert code == 1
    assert "AttributeError: 'Apart' object has no attribute 'table'" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "job.params.broken=true"], "ValueError: no such weights ({folder}/my_tried_job.py:16)"),
        (
            ["--set", "job.class=my_tried_job:Nobody"],
            "the module's Jobs: Apart, Asking, Awaiting, Blocking, Drawing, Mine, Telling",
        ),
        (["--row", "10"], "--row 10: there is no such row; there are 0-9"),
        (["--shard", "3"], "--shard 3: there is no such shard; there are 0-2"),
        (["--shard", "1", "--row", "1"], "give one of them"),
        (["--samples", "0"], "must be 1 or more"),
    ],
)
def test_what_is_wrong_is_one_message(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, out, err = tried(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message.format(folder=folder) in err


def test_an_error_at_import_says_where(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "my_broken_job.py").write_text("import os\n\nos.no_such_thing\n")
    code, _, err = tried(capsys, "--set", "job.class=my_broken_job:Mine")
    assert code == 2
    assert f"at {folder}/my_broken_job.py:3" in err


def test_a_debugger_is_where_it_raised(folder: Path) -> None:
    done = subprocess.run(
        command("try", "config.yaml", "--row", "1", "--pdb"),
        cwd=folder, env=environment(), input="p sample['id']\nq\n", capture_output=True, text=True, timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "(Pdb) 's1'" in done.stdout


def test_a_run_that_is_planned_is_tried_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "config.yaml", "--set", "runs=planned"]) == 0
    before = sorted(os.listdir(folder / "planned" / "mine"))
    capsys.readouterr()
    assert main(["try", "planned/mine", "--row", "7", "--json"]) == 0
    assert '"sample": "7 (s7)"' in capsys.readouterr().out
    assert sorted(os.listdir(folder / "planned" / "mine")) == before
