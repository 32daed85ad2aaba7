"""Columns of another run that goes on: rows are read once they are there, whatever comes to be of that run meanwhile."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.gather import upstream_rows
from jobs.gather.upstream_rows import UpstreamRows
from jobs.storage.attempts import Attempt, Attempts
from jobs.storage.layouts import recall
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.upstreams import ROW
from tests.support.builders import AttemptWriter, everything, submit
from tests.support.overlaps import PARTS, build_upstream, do, upstream_of


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return build_upstream(tmp_path)


def batch(rows: Iterable[int]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({ROW: list(rows)})


def labels(rows: UpstreamRows, start: int, stop: int) -> list[int]:
    return list(map(int, rows.values(batch(range(start, stop)))["label"]))


def messages(rows: UpstreamRows, start: int, stop: int) -> dict[int, str]:
    return {at: str(error) for at, error in rows.unreadable(batch(range(start, stop))).items()}


def test_rows_are_read_once_they_are_there(run: RunDir) -> None:
    do(run, "0-7")
    rows = UpstreamRows(upstream_of(run))
    assert labels(rows, 0, 8) == list(range(8))
    with pytest.raises(OSError, match="run first has not done rows 6-9 yet"):
        labels(rows, 6, 10)
    do(run, "8-11", worker=1)
    assert labels(rows, 6, 10) == [6, 7, 8, 9]
    assert labels(rows, 1, 3) == [1, 2]


def test_what_its_attempts_do_on_is_read(run: RunDir) -> None:
    """Looked at again, only what is new of them is read."""
    writer = do(run, "0-7")
    rows = UpstreamRows(upstream_of(run))
    assert labels(rows, 0, 4) == [0, 1, 2, 3]
    for start in range(8, 24, 4):
        writer.commit(start, start + 4)
        writer.beat()
        assert labels(rows, start, start + 4) == list(range(start, start + 4))


def test_what_is_known_is_not_looked_for_again(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    do(run, "0-23")
    rows = UpstreamRows(upstream_of(run))
    looks: list[Attempts] = []
    read = Attempts.read

    def look(self: Attempts) -> list[Attempt]:
        looks.append(self)
        return read(self)

    monkeypatch.setattr(Attempts, "read", look)
    for start in range(0, 24, 2):
        labels(rows, start, start + 2)
    assert not looks
    do(run, "24-31", worker=1)
    labels(rows, 24, 28)
    labels(rows, 28, 32)
    assert len(looks) == 1


def test_of_a_row_that_is_done_again_the_newer_is_read_by_whoever_looks_again(run: RunDir) -> None:
    do(run, "0-7", bad="5")
    rows = UpstreamRows(upstream_of(run))
    assert messages(rows, 4, 8) == {1: "failed in first: LOAD: cannot read sample 5: ☠"}
    submit(run, 2, rows=Spans([(4, 8)]))
    with AttemptWriter(run, 2) as again:
        again.commit(4, 8, lambda numbers: everything(numbers + 100))
        again.beat()
    assert labels(rows, 4, 5) == [4]  # still what it has found once
    do(run, "8-11", worker=1)
    assert labels(rows, 8, 12) == [8, 9, 10, 11]
    assert messages(rows, 4, 8) == {}
    assert labels(rows, 2, 8) == [2, 3, 104, 105, 106, 107]


def test_while_all_samples_failed_nobody_knows_its_outputs(run: RunDir) -> None:
    do(run, "0-3", bad="0-3")
    rows = UpstreamRows(upstream_of(run))
    assert sorted(messages(rows, 0, 4)) == [0, 1, 2, 3]
    assert rows.values(batch(range(4))) == {"label": [None] * 4}
    do(run, "4-7", worker=1)
    assert labels(rows, 4, 8) == [4, 5, 6, 7]


def test_outputs_that_come_to_be_while_it_looks_are_those_of_what_it_found(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first good samples are committed after the layout was looked for, before attempts were, or the other way round."""

    def seen_late(found: RunDir) -> Any:
        layout = recall(found)
        do(run, "0-3")
        return layout

    monkeypatch.setattr(upstream_rows, "recall", seen_late)
    rows = UpstreamRows(upstream_of(run))
    monkeypatch.undo()
    assert labels(rows, 0, 4) == [0, 1, 2, 3]


def test_an_output_that_it_does_not_have_is_told_once_it_has_some(run: RunDir) -> None:
    rows = UpstreamRows(upstream_of(run, outputs=("why",)))
    do(run, "0-3")
    with pytest.raises(
        OSError, match=r"no output 'why' \(data\.manifest\.outputs\); it has .*label.*\. Correct the config"
    ):
        labels(rows, 0, 4)


def test_rows_of_one_of_several_manifests_are_counted_from_its_first(tmp_path: Path) -> None:
    run = build_upstream(tmp_path, parts=PARTS)
    do(run, "16-31", bad="25")
    train, test = UpstreamRows(upstream_of(run, "train")), UpstreamRows(upstream_of(run, "test"))
    assert labels(train, 20, 24) == [20, 21, 22, 23]
    assert labels(test, 2, 8) == list(range(26, 32))
    assert messages(test, 0, 4) == {1: "failed in first (test): LOAD: cannot read sample 25: ☠"}
    with pytest.raises(OSError, match=r"run first \(test\) has not done rows 8-11 yet"):
        labels(test, 8, 12)
    do(run, "32-35", worker=1)
    assert labels(test, 4, 12) == list(range(28, 36))
    assert train.unreadable(batch(range(16, 24))) == {}


def test_ragged_outputs_of_rows_that_came_at_different_times(run: RunDir) -> None:
    do(run, "0-7")
    rows = UpstreamRows(upstream_of(run, outputs=("tokens", "text")))
    assert len(rows.values(batch(range(8)))["text"]) == 8
    do(run, "8-19", worker=1)
    found, expected = rows.values(batch(range(2, 20))), everything(np.arange(64))
    for name in ("tokens", "text"):
        for value, row in zip(found[name], range(2, 20), strict=True):
            np.testing.assert_array_equal(value, expected[name][row])


def test_of_rows_that_follow_only_those_that_are_there_are_looked_up(run: RunDir) -> None:
    do(run, "0-3,8-11")
    rows = UpstreamRows(upstream_of(run))
    assert labels(rows, 0, 4) == [0, 1, 2, 3]
    assert labels(rows, 8, 12) == [8, 9, 10, 11]


def test_rows_between_those_that_are_asked_for_need_not_be_there(run: RunDir) -> None:
    do(run, "0-3,8-11")
    rows = UpstreamRows(upstream_of(run))
    assert list(map(int, rows.values(batch([1, 3, 8, 10]))["label"])) == [1, 3, 8, 10]
