"""Sweeps as commands: planned, run and shown together."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import InputError, RunError
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher import results
from launcher.cli import main
from launcher.commands import start
from launcher.runs.set_aside import name_aside
from launcher.runs.sweeps import runs_of, sweep_of
from launcher.submit import follow
from launcher.submit.cancel import cancel_run
from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import document, launcher, write_config
from tests.support.slurm_runs import use_cluster


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path, 8, shards=1)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    return capsys.readouterr().err


def test_a_sweep_plans_a_run_for_each_value_and_status_shows_all(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(capsys, "plan", config.name, "--sweep", "node.batch_size=4,8")
    assert [line.partition(":")[0] for line in told.splitlines()].count("planned") == 2
    assert told.count("samples: 8") == 1
    assert "toy-4: node.batch_size=4\nplanned: " in told
    assert told.endswith("next: launcher submit toy, or launcher run toy; all 2 together: launcher status toy\n")
    plans = {name: Plan.read(RunDir(config.parent / "runs" / name).plan) for name in ("toy-4", "toy-8")}
    assert {name: (plan.batch_size, sweep_of(plan)) for name, plan in plans.items()} == {
        "toy-4": (4, "toy"),
        "toy-8": (8, "toy"),
    }
    for shown in (("status", "toy"), ("list", "--sweep", "toy")):
        _, *rows = said(capsys, *shown).splitlines()
        assert sorted((row.split()[0], row.split()[1]) for row in rows) == [("toy-4", "planned"), ("toy-8", "planned")]
    assert said(capsys, "status", "toy", "--csv").count("runs/toy-") == 2
    found = json.loads(said(capsys, "status", "toy", "--json"))
    assert (found["sweep"], [run["state"] for run in found["runs"]]) == ("toy", ["planned", "planned"])
    again = json.loads(said(capsys, "plan", config.name, "--sweep", "node.batch_size=4,8", "--json"))
    assert [(run["sweep"], run["is_new"], run["values"]) for run in again["runs"]] == [
        ("toy", False, [f"node.batch_size={size}"]) for size in (4, 8)
    ]


def test_a_sweep_runs_to_the_end_and_a_failing_run_ends_no_other(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = ["--set", "job.params.bad={'3': raise}", "--set", "retry.attempts=1"]
    said(capsys, "plan", config.name, "--sweep", "node.max_failed_samples=0,1")
    done = launcher(config.parent, "run", config.name, "--sweep", "node.max_failed_samples=0,1", *bad, "--json")
    assert done.stderr.count("planned anew: job.params.bad") == 2  # each is planned once, and says so
    assert [run["state"] for run in document(done)["runs"]] == ["failed", "complete"], done.stderr
    assert done.returncode == 1
    with results.open(config.parent / "runs" / "toy-1") as found:
        assert list(found["status"]) == [1, 1, 1, 2, 1, 1, 1, 1]
    assert said(capsys, "verify", "toy").endswith("\nsweep toy, 2 runs: 2 intact\n")
    assert main(["gather", "toy"]) == 1
    assert "launcher: sweep toy, 2 runs: 1 failed (toy-0), 1 complete\n" in capsys.readouterr().err


def test_a_run_that_is_called_as_the_sweep_comes_first(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "plan", config.name, "--sweep", "node.batch_size=4")
    said(capsys, "plan", config.name, "--set", "name=toy-other")
    assert [run.name for run in runs_of(Path("runs"), "toy")] == ["toy-4"]
    said(capsys, "plan", config.name)
    assert said(capsys, "status", "toy").startswith("toy  planned")
    told = said(capsys, "plan", config.name, "--sweep", "node.batch_size=4")
    assert "(toy alone is another run); all 1 together: launcher list --sweep toy" in told


def test_a_run_of_a_sweep_with_a_damaged_plan_is_not_passed_over(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "plan", config.name, "--sweep", "node.batch_size=4,8")
    Path("runs/toy-4/plan.json").write_text("{")
    assert main(["verify", "toy"]) == 1
    assert "sweep toy, 2 runs: 1 failed (toy-4), 1 intact" in capsys.readouterr().err
    listed = said(capsys, "list", "--sweep", "toy")
    assert re.search("^toy-4 +unreadable", listed, re.MULTILINE)
    assert re.search("^toy-8 +planned", listed, re.MULTILINE)


def test_what_was_set_aside_of_a_sweep_is_none_of_its_runs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "plan", config.name, "--sweep", "node.batch_size=4,8")
    shutil.copytree("runs/toy-4", f"runs/{name_aside('toy-4', '20261129-115634')}")
    assert [run.name for run in runs_of(Path("runs"), "toy")] == ["toy-4", "toy-8"]


def test_the_name_of_a_sweep_stands_for_its_runs_in_rerun_and_cancel(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "plan", config.name, "--sweep", "node.batch_size=4,8")
    assert main(["rerun", "toy", "--shards", "0"]) == 2
    assert "--shards 0: are of one run, and toy is a sweep; its runs: toy-4, toy-8" in capsys.readouterr().err
    again = said(capsys, "rerun", "toy")
    assert again.endswith("\nsweep toy, 2 runs: 2 submitted; follow: launcher status toy\n")
    stopped = said(capsys, "cancel", "toy")
    assert stopped.splitlines()[-1].startswith("sweep toy, 2 runs: ")
    assert stopped.endswith("; to go on: launcher rerun toy\n")
    found = json.loads(said(capsys, "cancel", "toy", "--json"))
    assert (found["sweep"], [run["cancelled"] for run in found["runs"]]) == ("toy", [[], []])


def test_one_run_of_a_sweep_that_is_refused_ends_no_other_and_decides_the_exit_code(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "plan", config.name, "--sweep", "node.batch_size=4,8")
    assert main(["gather", "toy"]) == 1
    told = capsys.readouterr()
    assert told.err.endswith("\nlauncher: sweep toy, 2 runs: 2 failed (toy-4, toy-8)\n")

    def refusing(run: RunDir, *_: object, **__: object) -> Any:
        if run.name == "toy-4":
            raise InputError("the Job has changed")
        raise RunError(f"{run.path}: somebody else is at it")

    monkeypatch.setattr(start, "start_again", refusing)
    assert main(["rerun", "toy", "--json"]) == 2
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "toy-4: the Job has changed",
        "runs/toy-8: somebody else is at it",
        "launcher: sweep toy, 2 runs: 1 refused (toy-4), 1 failed (toy-8)",
    ]
    found = json.loads(told.out)
    assert [run["error"] for run in found["runs"]] == ["the Job has changed", "runs/toy-8: somebody else is at it"]


def test_cancel_takes_the_run_that_is_called_as_the_sweep(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "plan", config.name, "--sweep", "node.batch_size=4")
    said(capsys, "plan", config.name)
    assert said(capsys, "cancel", "toy") == "nothing of runs/toy is running\n"


def test_whoever_cancels_a_run_of_a_sweep_wants_no_more_of_them(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(follow, "follow", lambda reader, *_, **__: (cancel_run(reader.run), reader.read())[1])
    assert main(["run", config.name, "--sweep", "node.batch_size=4,8"]) == 1
    assert "not begun, since toy-4 was cancelled: toy-8" in capsys.readouterr().out
    assert not list(Path("runs/toy-8/submissions").glob("*.json"))


def test_what_is_for_a_run_names_those_of_the_sweep(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "plan", config.name, "--sweep", "node.batch_size=4,8")
    for command in ("errors", "logs", "events"):
        assert "toy: is a sweep, and this is for a run; its runs: toy-4, toy-8" in refused(capsys, command, "toy")
    asked = refused(capsys, "status", "toy", "--sweep", "node.batch_size=4,8")
    assert "'--sweep' is not expected; it is for run, plan, submit, list; `launcher status NAME` shows" in asked
    assert "did you mean --watch" in refused(capsys, "status", "--wach")


def test_what_cannot_be_a_sweep_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["--sweep", "node.batch_size=4,8"]
    assert "the runs of a sweep have a result each" in refused(
        capsys, "plan", config.name, "--set", "output.path=x.h5", *sweep
    )
    assert "--set node.batch_size=0: must be" in refused(capsys, "plan", config.name, "--sweep", "node.batch_size=0,8")
    assert "unknown parameter. Did you mean bad" in refused(capsys, "plan", config.name, "--sweep", "job.params.bda=1")
    assert "must be" in refused(capsys, "plan", config.name, "--sweep", "job.params.delay=0,x")
    assert not Path("runs").exists()  # a value that the Job refuses is told before any of them is planned
    assert "none.csv" in refused(capsys, "run", config.name, "--sweep", "data.manifest=data.csv,none.csv")
    assert "makes runs of one config" in refused(capsys, "run", config.name, "b.yaml", *sweep)
    assert not list(Path("runs").glob("*/submissions/*"))  # all are planned before one begins


@pytest.mark.thorough
@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
def test_a_scheduler_gets_all_runs_of_a_sweep_at_once(
    clean_slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cluster(clean_slurm, monkeypatch)
    config = write_config(tmp_path, 16, shards=1, executor="slurm", slurm={"mem": "600M"})
    done = launcher(tmp_path, "run", config.name, "--sweep", "node.batch_size=4,8", "--json")
    assert done.returncode == 0, done.stderr
    found = document(done)["runs"]
    assert [run["state"] for run in found] == ["complete", "complete"]
    said = done.stderr
    assert said.index("launcher status toy-4") < said.index("launcher status toy-8") < said.index("complete: 16 of 16")
