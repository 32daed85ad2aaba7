"""Runs before a run are looked at once, however many runs come after them."""

from pathlib import Path

import pytest

from jobs.storage.plans import Plan
from launcher.status.reader import StatusReader
from tests.support.builders import build_run, change_plan

LEVELS = 8


def test_each_run_before_is_read_once_for_a_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before: tuple[str, ...] = ()
    for level in range(LEVELS):
        runs = [build_run(tmp_path / f"run-{level}-{side}", (0, 8)) for side in "ab"]
        for run in runs:
            change_plan(run, after=before)
        before = tuple(str(run.path) for run in runs)
    last = build_run(tmp_path / "last", (0, 8))
    change_plan(last, after=before)
    reader, read, seen = StatusReader(last), Plan.read, list[Path]()

    def noted(path: Path) -> Plan:
        seen.append(path)
        return read(path)

    monkeypatch.setattr(Plan, "read", noted)
    for _ in range(2):
        seen.clear()
        chain = reader.read().chain
        assert [link.run.name for link in chain.links] == [f"run-{n}-{s}" for n in range(LEVELS) for s in "ab"]
        assert len(seen) < 10 * LEVELS
