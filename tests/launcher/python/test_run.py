"""A run as an object: planned of a Job and samples in this process, it does what the commands do."""

import asyncio
import copy
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import launcher
from jobs.errors import InputError, RunError
from jobs.function import AsyncFunction, Function
from jobs.kinds import RunState
from jobs.storage.rundir import RunDir
from jobs.storage.stamps import STAMP
from jobs.storage.submission import Submission
from launcher.cli import main
from launcher.config.config import load_config
from launcher.plan.guard import config_folder
from launcher.plan.plan import make_plan
from launcher.python import planning
from launcher.python.samples import looked_at
from launcher.submit.start import Started
from tests.example_jobs.toy_jobs import Toy
from tests.support.launcher_runs import document
from tests.support.launcher_runs import launcher as command
from tests.support.patience import PATIENCE

ROWS = 40
SETTINGS: Mapping[str, Any] = {
    "executor": "local",
    "node": {"workers": 0, "batch_size": 8, "max_failed_samples": 5},
    "local": {"parallelism": 1},
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(rows: int = ROWS, **changed: Any) -> launcher.Run:
    samples = [{"x": number} for number in range(rows)]
    return launcher.plan(Toy(), samples, name="toy", shards=4, **{**SETTINGS, **changed})


def test_the_package_gives_the_function_whatever_was_imported_of_the_folder_of_its_name() -> None:
    assert import_module("launcher.plan.plan").make_plan is make_plan
    assert launcher.plan.__module__ == "launcher.python.planning"
    assert launcher.plan is planning.plan


def test_a_run_from_python_is_that_of_its_config(folder: Path) -> None:
    run = plan()
    assert run.path == folder / "runs" / "toy"
    assert not make_plan(load_config(run.config)).is_new
    copy = folder / "elsewhere" / "copy.yaml"
    copy.parent.mkdir()
    copy.write_text(run.config.read_text())
    known = make_plan(load_config(copy))
    assert (known.is_new, known.notes, known.run.path) == (False, (), run.path)
    assert plan().notes == ()
    # Of a config that a person writes, too: the same samples in another file are the same plan.
    (folder / "x.csv").write_text("x\n" + "".join(f"{number}\n" for number in range(ROWS)))
    assert launcher.plan(Toy(), "x.csv", name="toy", shards=4, **SETTINGS).notes == ()


def test_a_run_goes_its_whole_way(folder: Path) -> None:
    run = plan()
    with pytest.raises(RunError, match="nothing of it was submitted"):
        run.wait(progress=False)
    started = run.submit()
    assert re.search("submission 1: 4 shards, [12] array tasks?, process ", str(started))
    status = asyncio.run(run.wait_async(PATIENCE))
    assert (status.state, status.ok) == (RunState.COMPLETE, ROWS)
    assert repr(status).endswith(f"complete: samples {ROWS} ok, 0 failed, 0 missing of {ROWS})")
    assert launcher.open("toy").status().to_json() == document(command(folder, "status", "toy", "--json"))
    with run.results() as found:
        assert len(found) == ROWS
    assert run.errors() == []
    assert "8 to" not in run.logs(0)
    assert "ok, 0 failed" in run.logs(0)
    assert run.logs(failed=True) == ""
    *_, last = run.logs(tail=1).splitlines()
    assert STAMP.match(last.encode()), "the last words of an array task"
    assert run.gather().complete
    assert "every shard is done and there is a result" in str(run.submit())
    assert run.cancel() == []
    with pytest.raises(InputError, match="there is no shard 4; the run has shards 0-3"):
        run.logs(4)

    with pytest.raises(InputError, match=f"the samples in data.manifest changed: {ROWS} rows then, 41 now"):
        plan(rows=41)
    assert len([*(run.path / "given").iterdir()]) == 1, "what was refused is not kept"
    again = plan(rows=41, fresh=True)
    assert "planned anew" in again.notes[0]
    assert load_config(again.config).data.sources[0].startswith(str(again.path / "given"))
    assert not make_plan(load_config(again.config)).is_new


def test_settings_of_another_plan_hold_for_what_is_submitted_next() -> None:
    plan()
    run = plan(node={**SETTINGS["node"], "sync_interval": 3.5})
    run.submit()
    run.wait(progress=False)
    again = run.rerun(shards=[0], node={"sync_interval": 4.5})
    assert "left out, since they are done and nothing in them failed: shards 0" in str(again)
    node = Submission.read(RunDir(run.path).submission(1)).node
    assert (node.sync_interval, node.workers) == (3.5, 0)
    # A run may be the samples of another one.
    after = launcher.plan(Toy(), run, name="second", data={"shards": 1}, **SETTINGS)
    assert after.status().total == ROWS
    assert load_config(after.config).data.of_run is not None


def test_the_same_samples_in_other_words_are_submitted(folder: Path) -> None:
    (folder / "x.csv").write_text("x\n1\n2\n3\n")
    launcher.plan(Toy(), "x.csv", name="toy", shards=1, **SETTINGS)
    run = launcher.plan(Toy(), "./x.csv", name="toy", shards=1, **SETTINGS)
    run.submit()
    assert run.wait(PATIENCE, progress=False).state == RunState.COMPLETE


def test_the_config_of_a_run_says_what_is_kept(folder: Path) -> None:
    run = plan()
    run.submit()
    run.wait(PATIENCE, progress=False)
    samples = [{"x": number} for number in range(ROWS)]
    kept = launcher.plan(Toy(delay=0.001), samples, name="toy", shards=4, keep_results=True, **SETTINGS)
    assert "kept, despite" in kept.notes[0]
    known = make_plan(load_config(run.config))
    assert (known.is_new, known.notes) == (False, ())


def test_samples_of_a_script_are_not_extended_by_its_config(folder: Path) -> None:
    run = plan()
    run.submit()
    run.wait(PATIENCE, progress=False)
    with pytest.raises(InputError, match="40 rows then, 41 now") as caught:
        plan(ROWS + 1)
    told = str(caught.value)
    assert "extend" not in told
    assert "given/" not in told
    assert 'with fresh=True, and what is there is set aside. To have both: name="toy-2"' in told


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"node": "x"}, "launcher.map: node: must be a mapping"),
        ({"runs": 5}, "launcher.map: runs: an int is not valid; valid: a path"),
    ],
)
def test_a_section_of_another_kind_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        launcher.map(doubled, [1], name="m", **sections)
    with pytest.raises(InputError, match="an int is not valid"):
        launcher.open(5)  # type: ignore[arg-type]


def doubled(x: int) -> int:
    return 2 * x


def test_a_copy_of_a_job_has_its_parameters() -> None:
    run = launcher.plan(copy.copy(Toy(delay=0.5)), [{"x": 1}], name="copied", **SETTINGS)
    assert load_config(run.config).job.params == {"delay": 0.5}


def test_another_folder_is_refused() -> None:
    with pytest.raises(InputError, match="relative paths start in the working directory"):
        plan(folder="elsewhere")


def test_values_of_rerun_are_what_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = launcher.plan(Toy(), [1], name="toy", executor="local")
    given: list[str] = []

    def started(*arguments: Any, **_: object) -> object:
        given.extend(arguments[2])
        return Started

    monkeypatch.setattr(import_module("launcher.python.run"), "start_again", started)
    run.rerun(slurm={"comment": "\U0001f600", "account": "0012"}, job={"params": {"x": float("inf")}})
    assert given == ['slurm.comment="\U0001f600"', 'slurm.account="0012"', "job.params.x=.inf"]


def test_a_wait_has_an_end(folder: Path) -> None:
    run = launcher.plan(Toy(delay=600.0), [{"x": 1}], name="slow", **SETTINGS)
    run.submit()
    with pytest.raises(TimeoutError, match="it goes on; follow it: launcher status slow --watch"):
        run.wait(0.1, progress=False)
    assert run.cancel() == [1]
    assert run.status().state is RunState.CANCELLED


def test_what_was_set_aside_is_told_though_nothing_was_submitted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RunError("sbatch said no")

    run = plan()
    run.submit()
    run.wait(progress=False)
    monkeypatch.setattr("launcher.submit.submit.submit", refuse)
    with pytest.raises(RunError, match="sbatch said no") as caught:
        run.submit(fresh=True)
    assert "what was computed before is set aside" in caught.value.__notes__[0]
    assert main(["rerun", "toy", "--fresh", "--shards", "0"]) == 1
    told = capsys.readouterr()
    assert "with --fresh all shards are computed" in told.out + told.err
    assert "sbatch said no" in told.err


def now(x: int) -> int:
    return x


async def later(x: int) -> dict[str, Any]:
    await asyncio.sleep(0.001)
    if x == 3:
        raise ValueError("no such number")
    return {"y": 2 * x, "parts": [0] * x}


def pieces(x: int) -> Iterator[int]:
    yield x


async def later_pieces(x: int) -> AsyncIterator[int]:
    yield x


@pytest.mark.parametrize("function", [pieces, later_pieces])
def test_a_function_that_returns_no_value_is_refused(function: Any) -> None:
    with pytest.raises(InputError, match="returns a generator, no value: write it without yield"):
        launcher.map(function, [1], **SETTINGS)


def test_an_async_function_is_called_with_many_samples_at_a_time() -> None:
    run = launcher.map(later, range(20), shards=1, **SETTINGS)
    assert run.wait(progress=False).state is RunState.COMPLETE
    with run.results() as found:
        assert found["y"][4:6].tolist() == [8, 10]
        assert found["parts"][2].tolist() == [0, 0]
    assert [(error.row, error.message) for error in run.errors()] == [(3, "ValueError: no such number")]


def test_each_kind_of_function_has_a_job_of_its_own() -> None:
    for job, name, other in ((Function, "later", "AsyncFunction"), (AsyncFunction, "now", "Function")):
        with pytest.raises(InputError, match=f"use jobs.function:{other}"):
            job(f"{__name__}:{name}")


def test_paths_are_text_for_a_rerun_and_objects_are_refused() -> None:
    run = plan()
    with pytest.raises(InputError, match=r"run\.rerun: node: an object is no plain value"):
        run.rerun(node={"workers": object()})
    with pytest.raises(InputError, match="no_such"):
        run.rerun(slurm={"template": Path("no_such")}, executor="slurm")


def test_rows_of_a_generator_are_read_once_and_one_ahead_of_the_others() -> None:
    rows = iter(range(3))
    again, first = looked_at(rows)
    assert (first, list(again)) == (0, [0, 1, 2])


def test_whole_numbers_of_a_function_are_not_rounded_beside_others() -> None:
    job = Function("tests.launcher.python.test_run:now")
    items = [{"y": np.array([2**53 + 1])}, {"y": np.array([0.5])}]
    with pytest.raises(ValueError, match="int64"):
        job.collate(items)


def test_a_folder_that_is_written_with_a_tilde_is_the_same_at_the_next_plan(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / "x").mkdir()
    (folder / "x.yaml").write_text(
        f"name: tilde\nfolder: ~/x/../x\njob: {{class: {Toy.__module__}:Toy}}\ndata: {{manifest: a.csv}}\nexecutor: local\n"
    )
    (folder / "x" / "a.csv").write_text("x\n1\n")
    made = make_plan(load_config(folder / "x.yaml"))
    assert config_folder(made.plan) == folder / "x"
