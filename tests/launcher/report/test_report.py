"""The report: one file, which needs nothing else, has all that the run's files tell, and shows text of others as text."""

import json
import re
import time
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

import launcher
from jobs import extras
from jobs.storage.durations import Durations
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from launcher.cli import main
from launcher.report.report import write_report
from tests.support.builders import AttemptWriter, build_plan
from tests.support.large_run import EVIL, build_large_run

SHARDS, TASKS = 60, 20


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return build_large_run(tmp_path_factory.mktemp("runs") / "nightly", SHARDS, TASKS)


@pytest.fixture(scope="module")
def page(run: RunDir) -> str:
    arguments = ["report", str(run.path), "--cpu-price", "0.05", "--gpu-price", "2", "--currency", "EUR"]
    assert main(arguments) == 0
    return run.report.read_text()


def shown(page: str) -> str:
    """The text of a page."""
    body = page.partition("<main>")[2].partition("</main>")[0]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def test_it_needs_nothing_but_itself(page: str) -> None:
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)[^"']*""", page.replace("xlink:href", ""))
    assert "@import" not in page
    assert set(re.findall(r"url\(([^)]*)\)", page)) <= {"#failed", "#lost", "#stopped"}
    assert "default-src 'none'" in page


def test_it_has_all_parts(page: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == [
        "Outcome", "Failures by cause", "Over time", "Array tasks and their attempts", "Shards", "How long samples took",
        "Asked for and used", "Nodes", "Submissions", "Provenance",
    ]  # fmt: skip
    assert page.count("<figure>") == 4


def test_it_tells_the_outcome_and_what_was_used(page: str) -> None:
    text = shown(page)
    assert "537 samples ok 3 samples failed 60 samples missing" in text
    assert "14 done, 2 stopped, 2 failed, 2 lost." in text
    assert "18 of 20 attempts told what they took" in text
    assert "kWh energy of GPUs" in text
    assert "EUR price" in text
    assert "memory of a GPU, at most 80.0G 20.0G" in text


def test_failures_come_with_advice_and_the_log(page: str, run: RunDir) -> None:
    text = shown(page)
    assert "CRASH" in text
    assert "launcher rerun" in text
    assert str(run.log(1, 0)) in text
    assert f"ValueError: {EVIL}" in text


def test_what_others_wrote_is_text(page: str) -> None:
    assert "<script>alert" not in page, "neither in the page nor in a plot"
    assert page.count("<script>") == 1
    assert "killed by signal 11: &lt;script&gt;" in page.partition("<svg")[2].partition("<figure>")[2]


def test_json_says_where_it_is(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.html"
    assert main(["report", str(run.path), "--output", str(target), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {"schema": 1, "report": str(target), "bytes": target.stat().st_size}


def test_a_run_that_has_just_begun_has_a_report(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 25, 50))
    assert launcher.open(run.path).report() == run.report
    assert "How long samples took" not in run.report.read_text()
    with AttemptWriter(run, began=time.time() - 5) as writer:
        writer.commit(0, 8)
        writer.beat(load=Durations({-5: 8}, 1.0), both=Durations({-5: 8}, 1.0))
    launcher.open(run.path).report(tmp_path / "again.html")
    assert "How long samples took" in (tmp_path / "again.html").read_text()


def test_several_runs_are_compared(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"name": "other", "job": {"params": {"model": "large", "seed": 1}}}
    others = [
        build_plan(
            tmp_path / name, (0, 25), config={**config, "name": name, "job": {"params": {"model": name, "seed": 1}}}
        )
        for name in ("small", "large")
    ]
    target = tmp_path / "report.html"
    assert main(["report", *(str(one.path) for one in others)]) == 0
    assert str(target) in capsys.readouterr().out
    assert "What differs key small large job.params.model small large" in shown(target.read_text())
    assert main(["report", str(run.path), str(others[0].path), "--output", str(tmp_path / "two.html")]) == 0
    text = shown((tmp_path / "two.html").read_text())
    assert f"nightly failed {537} 3 60" in text
    assert "CRASH" in text


def test_the_name_of_a_sweep_stands_for_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lengths-a", "lengths-b"):
        build_plan(tmp_path / "runs" / name, (0, 25), config={"name": name, "sweep": "lengths", "seed": name})
    assert main(["report", "lengths"]) == 0
    assert "What differs key lengths-a lengths-b seed" in shown((tmp_path / "runs" / "lengths.html").read_text())
    capsys.readouterr()
    assert main(["metrics", "lengths"]) == 0
    assert 'run="lengths-b",state="planned"} 0' in capsys.readouterr().out


def test_no_scheduler_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = build_plan(tmp_path / "run", (0, 25))
    submission = replace(Submission.read(run.submission(1)), executor="slurm", job_ids=("77",))
    submission.write(run.submission(1))
    started: list[object] = []
    monkeypatch.setattr("subprocess.Popen.__init__", lambda self, *command, **_: started.append(command))
    for command in ("report", "metrics", "events"):
        assert main([command, str(run.path)]) == 0
    assert started == []


@pytest.mark.parametrize(
    ("executor", "peak", "told"),
    [
        ("slurm", 1 << 30, "memory, at most 8.0G 1.0G 1.5G time, at most 60.0 s 2 min"),
        ("slurm", 6 << 30, "memory, at most 8.0G 6.0G as asked"),
        ("local", 1 << 30, "memory, at most 8.0G 1.0G time, at most 60.0 s Submissions"),
    ],
)
def test_what_to_ask_for_next_time_is_told_where_something_is_asked_for(
    tmp_path: Path, executor: str, peak: int, told: str
) -> None:
    run = build_plan(tmp_path / "run", (0, 25))
    replace(Submission.read(run.submission(1)), executor=executor).write(run.submission(1))
    with AttemptWriter(run, began=time.time() - 60) as writer:
        writer.commit(0, 8)
        writer.beat(seconds=60.0, cpus=2, cpu_seconds=60.0, memory_limit=8 << 30, peak_memory=peak)
    assert told in shown(write_report(run).read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "/nowhere/x.html"], "there is no folder for it"),
        (["--cpu-price", "-1"], "prices of an hour"),
        (["--gpu-price", "nan"], "prices of an hour"),
    ],
)
def test_what_cannot_be_is_refused(
    run: RunDir, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run.path), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_without_its_packages_it_says_how_to_install_them(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(extras.PACKAGES, "report", ("no_such_package",))
    assert main(["report", str(run.path)]) == 2
    assert "[report]" in capsys.readouterr().err
