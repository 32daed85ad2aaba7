"""A plan that is not right any more: replaced while nothing is computed, else refused, kept or set aside."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import pytest

from jobs.errors import ConflictError, InputError, RunError
from jobs.kinds import EndReason
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.attempts import Attempts
from jobs.storage.locks import try_lock
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.config.config import load_config
from launcher.plan import replacement
from launcher.plan.guard import Way
from launcher.plan.plan import make_plan
from launcher.runs.find import list_runs
from launcher.runs.submissions import Outcome, update
from launcher.submit.submit import select_rows
from launcher.submit.submit import submit as submit_rows
from tests.support.builders import AttemptWriter, submit
from tests.support.launcher_runs import (
    document,
    environment,
    in_process,
    launcher,
    newest,
    run_of,
    start,
    status,
    wait_until,
    write_config,
)
from tests.support.patience import PATIENCE

JOB = """
import time
from pathlib import Path
from jobs.job import Job
from times import FACTOR

class Times(Job):
    def __init__(self, plus: int = 0, wait: str = "", bad: int = -1):
        self.plus, self.wait, self.bad = plus, wait, bad

    def load(self, sample):
        return sample["x"]

    def process(self, batch):
        while self.wait and not Path(self.wait).exists():
            time.sleep(0.02)
        if self.bad in batch:
            raise ValueError("a bug")
        return {"y": batch * FACTOR + self.plus}
"""


def write_job(folder: Path, factor: int = 1, **sections: Any) -> Path:
    config = write_config(folder, rows=40, shards=2, job="job_times:Times", **sections)
    (folder / "job_times.py").write_text(JOB)
    edit(folder, factor)
    return config


def edit(folder: Path, factor: int) -> None:
    """Another module than the Job's own: it imports this one. Of a new size: Python tells an edit by that, or by seconds."""
    module = folder / "times.py"
    size = module.stat().st_size if module.exists() else 0
    module.write_text(f"FACTOR = {factor}".ljust(size) + "\n")


def values(run: RunDir) -> list[int]:
    with h5py.File(run.result) as file:
        assert file.attrs["complete"]
        return [int(value) for value in file["y"][()]]


def provenance(run: RunDir) -> Mapping[str, Any]:
    with h5py.File(run.result) as file:
        found: Mapping[str, Any] = json.loads(file.attrs["provenance"])
        return found


def others(run: RunDir) -> list[Path]:
    """What lies beside a run."""
    return [path for path in run.path.parent.iterdir() if path != run.path]


def test_a_plan_of_which_nothing_is_computed_is_replaced(tmp_path: Path) -> None:
    config = write_job(tmp_path)
    first = make_plan(load_config(config))
    edit(tmp_path, 2)
    again = make_plan(load_config(config, ["data.shards=5", "job.params.plus=3"]))
    assert again.is_new
    assert Plan.read(first.run.plan) == again.plan
    assert again.plan.shard_count == 5
    assert "times.py changed since the plan of" in again.notes[0]
    assert "data.shards: 2 -> 5" in again.notes[0]
    assert others(first.run) == []


@pytest.mark.parametrize("computed", [False, True])
def test_a_run_that_is_a_link_is_replaced_where_it_lies(tmp_path: Path, computed: bool) -> None:
    """On the disk that somebody has chosen for it."""
    config = write_job(tmp_path)
    run = make_plan(load_config(config)).run
    (tmp_path / "disk").mkdir()
    place = run.path.rename(tmp_path / "disk" / "far")
    run.path.symlink_to(place)
    if computed:
        submit(run)
        with AttemptWriter(run) as writer:
            writer.commit(0, 8)
            writer.beat()
        Outcome(time.time()).write(run, 1)
    again = make_plan(load_config(config, ["data.shards=5"]), Way.FRESH)
    assert run.path.is_symlink()
    assert Plan.read(RunDir(place).plan) == again.plan
    aside = [path for path in place.parent.iterdir() if path != place]
    assert [Plan.read(RunDir(path).plan).shard_count for path in aside] == ([2] if computed else [])
    assert others(run) == []


def test_failed_samples_alone_are_no_results(tmp_path: Path) -> None:
    """By the job that is corrected they are computed again; one that is good makes a result of all."""
    config = write_job(tmp_path)
    run = make_plan(load_config(config)).run
    for ok in (0, 1):
        submit(run, claims=True)
        with AttemptWriter(run) as writer:
            writer.commit(0, 8, bad=range(ok, 8))
            writer.beat(end=EndReason.DONE)
        Outcome(time.time()).write(run, 1)
        edit(tmp_path, 2 + ok)
        if ok:
            with pytest.raises(InputError, match="there are results of this run"):
                make_plan(load_config(config))
        else:
            assert make_plan(load_config(config)).is_new
            assert others(run) == []


def test_a_mistake_in_the_new_plan_leaves_the_old_one(tmp_path: Path) -> None:
    config = write_job(tmp_path)
    first = make_plan(load_config(config))
    wrong = launcher(tmp_path, "plan", config, "--set", "data.manifest=gone.csv")
    assert wrong.returncode == 2
    assert Plan.read(first.run.plan) == first.plan
    assert others(first.run) == []


def test_while_it_goes_on_a_plan_is_not_replaced(tmp_path: Path) -> None:
    config = write_job(tmp_path)
    run = make_plan(load_config(config)).run
    submission = submit(run, claims=True)
    # As long as this process lives, the submission is in its hands.
    update(run, submission, process=ProcessIdentity.current().to_json())
    with pytest.raises(RunError, match=r"submission 1 goes on.*launcher cancel"):
        make_plan(load_config(config, ["job.params.plus=1"]))
    Outcome(time.time(), cancelled=True).write(run, 1)
    assert make_plan(load_config(config, ["job.params.plus=1"])).is_new


def test_of_two_that_replace_it_at_once_one_has_its_way_and_finds_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one begins at any moment of the first, and waits: it neither takes the new run away nor comes to replace it."""
    config = write_job(tmp_path)
    run = make_plan(load_config(config)).run
    rename, said = os.rename, queue.SimpleQueue[str]()

    def be_late() -> None:
        try:
            make_plan(load_config(config, ["job.params.plus=2"]))
        except ConflictError as error:
            said.put(str(error))

    other = threading.Thread(target=be_late)

    def while_another_looks_on(*paths: Path) -> None:
        if not other.ident:
            has_tried = threading.Event()

            def try_to_lock(descriptor: int) -> bool | None:
                found = try_lock(descriptor)
                has_tried.set()
                return found

            monkeypatch.setattr(replacement, "try_lock", try_to_lock)
            other.start()
            assert has_tried.wait(PATIENCE)
        assert said.empty()
        rename(*paths)

    monkeypatch.setattr(os, "rename", while_another_looks_on)
    mine = make_plan(load_config(config, ["job.params.plus=1"]))
    other.join(PATIENCE)
    assert "another launcher has changed this run meanwhile" in said.get_nowait()
    assert Plan.read(run.plan) == mine.plan
    assert others(run) == []


def test_what_is_submitted_while_its_plan_is_replaced_is_withdrawn(tmp_path: Path) -> None:
    config = write_job(tmp_path)
    planned = make_plan(load_config(config))
    selection = select_rows(planned.run, planned.plan)
    edit(tmp_path, 2)
    replaced = make_plan(load_config(config, ["data.shards=5"]))
    with pytest.raises(ConflictError, match="planned this run anew"):
        submit_rows(planned.run, load_config(config), selection)
    assert planned.run.submission_numbers() == []
    assert not planned.run.claims(1).exists()
    assert Plan.read(planned.run.plan) == replaced.plan


def test_what_is_submitted_while_it_is_to_be_replaced_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_job(tmp_path)
    planned = make_plan(load_config(config))
    rename = os.rename

    def just_submitted(*paths: Path) -> None:
        if not planned.run.submission_numbers() and planned.run.plan.exists():
            submit(planned.run)
        rename(*paths)

    monkeypatch.setattr(os, "rename", just_submitted)
    with pytest.raises(ConflictError, match="changed this run meanwhile"):
        make_plan(load_config(config, ["job.params.plus=1"]))
    assert Plan.read(planned.run.plan) == planned.plan
    assert planned.run.submission_numbers() == [1]
    assert others(planned.run) == []


@pytest.mark.parametrize("arguments", [("run", "config.yaml"), ("submit", "toy"), ("rerun", "toy", "--shards", "1")])
def test_edited_code_is_refused_once_there_are_results(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    config = write_job(tmp_path)
    make_plan(load_config(config))
    with AttemptWriter(run_of(config)) as writer:
        writer.commit(0, 8, compute=lambda rows: {"y": rows})
        writer.beat()
    edit(tmp_path, 1000)
    refused = launcher(tmp_path, *arguments)
    assert refused.returncode == 2
    assert "times.py changed since the plan of 20" in refused.stderr
    assert "--keep-results" in refused.stderr
    assert "--fresh" in refused.stderr
    assert run_of(config).submission_numbers() == []


def test_results_that_are_kept_say_so(tmp_path: Path) -> None:
    config = write_job(tmp_path, params={"bad": 25})
    assert launcher(tmp_path, "run", config).returncode == 1
    edit(tmp_path, 1000)
    kept = launcher(tmp_path, "run", config, "--set", "job.params.bad=-1", "--keep-results")
    assert kept.returncode == 0, kept.stderr
    assert "kept, despite: job.params.bad: 25 -> -1; times.py changed" in kept.stdout
    run = run_of(config)
    rows = values(run)
    assert rows[:20] == list(range(20))
    assert rows[20:28] == [1000 * row for row in range(20, 28)]
    told = provenance(run)
    assert any("times.py" in change for change in told["kept"][0]["changes"])
    assert len(told["rows_by_code"]) == 2
    verified = launcher(tmp_path, "verify", "toy")
    assert verified.returncode == 0
    assert verified.stdout.count("computed by the code") == 2
    assert (verified.stdout.count(", which the plan has now"), verified.stdout.count(", until 20")) == (1, 1)
    assert len(document(launcher(tmp_path, "verify", "toy", "--json"))["rows_by_code"]) == 2
    # From now on this is the run's code: nobody has to say so again.
    assert launcher(tmp_path, "run", config, "--set", "job.params.bad=-1").returncode == 0


def test_a_fresh_run_sets_aside_what_is_there(tmp_path: Path) -> None:
    config = write_job(tmp_path, output={"path": "y.h5"})
    assert launcher(tmp_path, "run", config).returncode == 0
    edit(tmp_path, 1000)
    fresh = launcher(tmp_path, "run", config, "--fresh")
    assert fresh.returncode == 0, fresh.stderr
    run = run_of(config)
    (old,) = others(run)
    assert f"set aside: {old}" in fresh.stdout
    listed = in_process(tmp_path, "list").stdout.splitlines()
    assert ["set aside; " in line for line in listed] == [False, False, True]
    assert old.name in listed[2]
    assert in_process(tmp_path, "cancel").stdout == "nothing of runs/toy is running\n"
    with h5py.File(tmp_path / "y.h5") as file:
        assert file["y"][7] == 7000
        assert len(json.loads(file.attrs["provenance"])["rows_by_code"]) == 1
    (before,) = tmp_path.glob("y.*.h5")
    with h5py.File(before) as file:
        assert file["y"][7] == 7
    assert status(tmp_path, RunDir(old))["samples"]["ok"] == 40
    assert [attempt.submission for attempt in Attempts(run).read()] == [1] * len(list(run.attempts.glob("*.journal")))


def test_rerun_can_be_fresh_too(tmp_path: Path) -> None:
    config = write_job(tmp_path)
    assert launcher(tmp_path, "run", config).returncode == 0
    edit(tmp_path, 2)
    wrong = launcher(tmp_path, "rerun", "toy", "--fresh", "--set", "job.params.pluss=1")
    assert wrong.returncode == 2
    assert "Did you mean plus?" in wrong.stderr
    run = run_of(config)
    assert others(run) == []  # nothing was set aside for that
    again = launcher(tmp_path, "rerun", "toy", "--shards", "1", "--fresh", "--set", "data.shards=1")
    assert again.returncode == 0, again.stderr
    assert "all shards are computed" in again.stdout
    wait_until(run.result.exists)
    assert values(run)[3] == 6


def test_a_change_that_cuts_other_batches_cannot_be_kept(tmp_path: Path) -> None:
    config = write_job(tmp_path)
    with AttemptWriter(make_plan(load_config(config)).run) as writer:
        writer.commit(0, 8)
        writer.beat()
    refused = launcher(tmp_path, "plan", config, "--keep-results", "--set", "node.batch_size=4")
    assert refused.returncode == 2
    assert "same command with --keep-results" not in refused.stderr
    assert "--fresh" in refused.stderr


def test_keep_and_fresh_are_not_both_wanted(tmp_path: Path) -> None:
    done = launcher(tmp_path, "run", write_job(tmp_path), "--keep-results", "--fresh")
    assert done.returncode == 2
    assert "not allowed with" in done.stderr


def test_array_tasks_that_start_after_an_edit_compute_nothing(tmp_path: Path) -> None:
    """One task at a time; the code is edited while the first one is at work, whose rows are those of before."""
    go = tmp_path / "go"
    config = write_job(tmp_path, params={"wait": str(go)}, local={"parallelism": 1}, retry={"attempts": 3})
    process = start(tmp_path, "run", config)
    run = run_of(config)
    wait_until(lambda: any(attempt.beat.setup for attempt in Attempts(run).read()))
    edit(tmp_path, 1000)
    executor = newest(run).process
    assert executor is not None
    os.kill(Attempts(run).read()[0].start.process["pid"], signal.SIGKILL)  # type: ignore[union-attr]
    go.touch()
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, output
    assert "times.py changed since the plan of" in output
    assert "--keep-results" in output
    assert not any(attempt.beat.done for attempt in Attempts(run).read())
    assert run.submission_numbers() == [1]


def test_a_summary_by_edited_code_is_told(tmp_path: Path) -> None:
    config = write_job(tmp_path)
    folding = (
        "\n    def reduce(self, state, block):\n        return {'sum': (0 if state is None else state['sum']) "
        "+ block['y'].sum() * FACTOR}\n"
    )
    (tmp_path / "job_times.py").write_text(JOB + folding)
    assert launcher(tmp_path, "run", config).returncode == 0
    edit(tmp_path, 3)
    done = launcher(tmp_path, "gather", "toy")
    assert done.returncode == 0
    assert "changed since the plan: times.py" in done.stdout
    assert provenance(run_of(config))["summary_by_changed_code"] == ["times.py"]


@pytest.mark.parametrize("at", [1, 2, 3])
def test_killed_while_it_replaces_the_next_planning_makes_the_new_plan(tmp_path: Path, at: int) -> None:
    """The process kills itself before one of the calls that put another run in the place of this one."""
    config = write_job(tmp_path)
    make_plan(load_config(config))
    edit(tmp_path, 2)
    program = (
        "import os, signal, sys\n"
        f"left = {at}\n"
        "def deadly(real):\n"
        "    def call(path, *more, **named):\n"
        "        global left\n"
        "        left -= f'{os.sep}.toy.' in str((path, *more))\n"
        "        return real(path, *more, **named) if left else os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return call\n"
        "os.rename, os.unlink = deadly(os.rename), deadly(os.unlink)\n"
        "from launcher.cli import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    planning = [sys.executable, "-P", "-c", program, "plan", str(config)]
    killed = subprocess.run(planning, env=environment(), capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    edit(tmp_path, 3)
    assert make_plan(load_config(config)).is_new
    assert not make_plan(load_config(config)).is_new
    assert [run.name for run in list_runs(tmp_path / "runs")] == ["toy"]
