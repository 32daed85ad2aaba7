"""Metrics: what Prometheus's own parser reads of them is what the run is."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parsed_as_node_exporter_does

from jobs.kinds import RunState
from jobs.storage.rundir import RunDir
from launcher.cli import main
from launcher.status.open_metrics import families
from launcher.status.reader import StatusReader
from tests.support.builders import AttemptWriter, build_plan
from tests.support.large_run import build_large_run
from tests.support.launcher_runs import ROOT

OLD_TYPES = {"counter", "gauge", "histogram", "unknown"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return build_large_run(tmp_path_factory.mktemp("runs") / "nightly", 40, 20, beats=3)


def parsed(capsys: pytest.CaptureFixture[str], *runs: RunDir) -> dict[str, Metric]:
    assert main(["metrics", *(str(run.path) for run in runs)]) == 0
    text = capsys.readouterr().out
    assert {family.type for family in parsed_as_node_exporter_does(text)} <= OLD_TYPES, (
        "also by what knows the older format alone"
    )
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return {family.name: family for family in families}


def by(family: Metric, label: str) -> dict[str, float]:
    return {sample.labels[label]: sample.value for sample in family.samples}


def test_they_say_how_the_run_stands(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    found, status = parsed(capsys, run), StatusReader(run).read()
    samples = {"ok": status.ok, "failed": status.failed, "missing": status.missing}
    assert by(found["launcher_samples"], "state") == samples
    states = by(found["launcher_run_state"], "state")
    assert [name for name, value in states.items() if value] == [status.state]
    assert states.keys() == set(RunState)
    ends = by(found["launcher_attempts"], "end")
    assert ends == {"done": 14, "failed": 2, "stopped": 2, "lost": 2, "running": 0}
    assert by(found["launcher_failed_samples"], "kind") == {"LOAD": status.failed}


def test_what_a_job_counts_is_a_counter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = build_plan(tmp_path / "run", (0, 8))
    with AttemptWriter(run) as writer:
        writer.commit(0, 8)
        writer.beat(counts={"tokens": 1234}, in_flight=3)
    (tokens,) = parsed(capsys, run)["launcher_counted"].samples
    assert (tokens.labels["output"], tokens.value) == ("tokens", 1234)


def test_times_and_what_was_used_have_units(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    found = parsed(capsys, run)
    assert found["launcher_cpu_seconds"].unit == "seconds"
    assert found["launcher_gpu_energy_joules"].samples[0].value > 0
    load = {sample.name: sample.value for sample in found["launcher_load_seconds"].samples if "le" not in sample.labels}
    assert load["launcher_load_seconds_count"] == 340
    buckets = by_le(found["launcher_load_seconds"])
    assert buckets["+Inf"] == load["launcher_load_seconds_count"]
    assert list(buckets.values()) == sorted(buckets.values())


def by_le(family: Metric) -> dict[str, float]:
    return {sample.labels["le"]: sample.value for sample in family.samples if "le" in sample.labels}


def test_their_names_are_those_of_the_documentation() -> None:
    table = (ROOT / "docs" / "report.md").read_text().partition("| metric |")[2].partition("\n\n")[0]
    told = {
        name.removesuffix("_total")
        for row in table.splitlines()[2:]
        for name in re.findall(r"`(launcher_\w+)`", row.split("|")[1])
    }
    assert told == {f"launcher_{family.name}" for family in families(())}


def test_several_runs_are_one_text(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = build_plan(tmp_path / 'odd "name" \\ of one', (0, 10))
    found = parsed(capsys, run, odd)
    assert {sample.labels["run"] for sample in found["launcher_samples"].samples} == {"nightly", odd.name}
    assert main(["metrics", str(run.path), str(run.path)]) == 2


def test_json_has_the_same_numbers(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    text = parsed(capsys, run)
    assert main(["metrics", str(run.path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    told = {one["name"] for one in document["metrics"]}
    assert told == {sample.name for family in text.values() for sample in family.samples}
