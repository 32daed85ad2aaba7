"""A run on a real Slurm of which a task was cancelled: its report, metrics and events say so, and ask nobody."""

from pathlib import Path

import pytest

from launcher.report.bill import Prices
from launcher.report.report import html_of, read_facts
from launcher.runs.events import EventReader
from launcher.status.open_metrics import text_of
from launcher.status.reader import StatusReader
from tests.slurm_cluster import SlurmCluster
from tests.support.slurm_runs import SHARDS, SlurmRun, use_cluster

pytestmark = [pytest.mark.slurm, pytest.mark.thorough, pytest.mark.xdist_group("slurm")]


def test_who_ran_where_with_what_and_how_it_ended(
    clean_slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cluster(clean_slurm, monkeypatch)
    toy = SlurmRun.gated(clean_slurm, tmp_path, node={"workers": 2})
    array = toy.submit()
    for shard in range(SHARDS):
        toy.await_commits(shard)
    clean_slurm.run("scancel", f"{array}_1")
    toy.open_gate_after(array, [1])
    assert toy.end()["state"] == "complete"
    events = EventReader(toy.run).read()
    started = {str(event["job_id"]): event for event in events if event["event"] == "attempt-started"}
    ended = {event["attempt"]: event for event in events if event["event"] == "attempt-ended"}
    assert {f"{array}_{index}" for index in range(SHARDS)} <= started.keys()
    assert {event["cpus"] for event in started.values()} == {2}
    assert ended[started[f"{array}_1"]["attempt"]]["end"] == "stopped"
    assert next(event["job_ids"] for event in events if event["event"] == "submitted") == [array]
    assert 'launcher_attempts{run="toy",end="stopped"} 1' in text_of([StatusReader(toy.run).read()])
    facts = read_facts(toy.run, Prices(cpu_hour=1.0))
    assert facts.bill.cpu_hours == pytest.approx(2 * sum(one.seconds for one in facts.histories) / 3600)
    page = html_of(facts)
    assert f"{array}_1" in page
    assert "told to leave by SIGTERM" in page
    assert array in page.partition("Submissions</h2>")[2]
