"""Plans: written and read again, also those of the versions before and after."""

import itertools
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import RunError
from jobs.storage import checked_json
from jobs.storage.plans import GROWN_FORMAT, OLD_FORMATS, Plan
from jobs.storage.records import JobSpec, Part
from jobs.storage.upstreams import Upstream


def plan_of(boundaries: Sequence[int]) -> Plan:
    job = JobSpec("module:Class", {"size": 3})
    return Plan("run", "f" * 16, 1.5, boundaries[-1], "id", tuple(boundaries), job, 8, 1, {"name": "run"})


@given(st.lists(st.integers(1, 3), min_size=1, max_size=30))
def test_a_plan_is_the_same_after_json(sizes: list[int]) -> None:
    plan = plan_of(list(itertools.accumulate(sizes, initial=0)))
    with tempfile.TemporaryDirectory() as folder:
        plan.write(Path(folder) / "plan.json")
        assert Plan.read(Path(folder) / "plan.json") == plan


def test_shards_of_one_size_take_the_room_of_one(tmp_path: Path) -> None:
    plan = plan_of(range(0, 1_000_001, 10))
    plan.write(tmp_path / "plan.json")
    assert (tmp_path / "plan.json").stat().st_size < 2000
    assert Plan.read(tmp_path / "plan.json").boundaries == plan.boundaries


@pytest.mark.parametrize("number", OLD_FORMATS)
def test_a_plan_of_an_older_format_is_read_and_written_as_it_was(tmp_path: Path, number: int) -> None:
    plan = replace(plan_of([0, 10, 25]), format=number)
    plan.write(tmp_path / "plan.json")
    data = json.loads((tmp_path / "plan.json").read_text())
    assert (data["format"], data["boundaries"]) == (number, [0, 10, 25])
    assert Plan.read(tmp_path / "plan.json") == plan


def test_a_plan_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    replace(plan_of([0, 10]), format=GROWN_FORMAT + 1).write(tmp_path / "plan.json")
    with pytest.raises(RunError, match=f"has format {GROWN_FORMAT + 1}; this version reads up to {GROWN_FORMAT}"):
        Plan.read(tmp_path / "plan.json")


@pytest.mark.parametrize("of", ["plan", "job", "part"])
def test_what_only_a_newer_version_knows_is_no_damage(tmp_path: Path, of: str) -> None:
    data = replace(plan_of([0, 3]), parts=(Part("a", 0, 3),)).to_json()
    {"plan": data, "job": data["job"], "part": data["parts"][0]}[of]["of_tomorrow"] = 1
    (tmp_path / "plan.json").write_bytes(checked_json.encode(data))
    with pytest.raises(
        RunError, match=r"plan\.json has of_tomorrow, which this version does not know: use the one that"
    ):
        Plan.read(tmp_path / "plan.json")


def test_nor_is_what_it_knows_of_the_run_whose_samples_these_are(tmp_path: Path) -> None:
    upstream: dict[str, Any] = {
        "run": "/runs/a",
        "manifest": None,
        "outputs": [],
        "keeps_failed": False,
        "seal": "",
        "of_tomorrow": 1,
    }
    with pytest.raises(
        RunError, match="of the run whose samples these are, has of_tomorrow, which this version does not"
    ):
        Upstream.of(replace(plan_of([0, 3]), manifest={"upstream": upstream}))


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "null", '"x"', '{"format": 3, "boundaries": 7}'])
def test_a_damaged_plan_is_one_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(RunError, match=r"plan\.json: cut short or damaged"):
        Plan.read(tmp_path / "plan.json")


@pytest.mark.parametrize(
    "damage",
    [
        {"boundaries": [[10, 1], [15, 1 << 31]]},
        {"boundaries": [[10, 1], [15, 1], [0, 1 << 31]]},
        {"boundaries": [[10, 1]]},
        {"rows": 26},
        {"rows": {"a": None}},
    ],
)
def test_shards_that_are_not_those_of_the_rows_are_damage_before_they_take_memory(
    tmp_path: Path, damage: dict[str, object]
) -> None:
    """Without a checksum, as versions before wrote it."""
    (tmp_path / "plan.json").write_text(json.dumps({**plan_of([0, 10, 25]).to_json(), **damage}))
    with pytest.raises(RunError, match=r"cut short or damaged .*its shards do not have its"):
        Plan.read(tmp_path / "plan.json")
