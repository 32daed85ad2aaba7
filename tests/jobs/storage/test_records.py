import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.kinds import EndReason, FailureKind, SampleFailureKind
from jobs.storage.records import (
    RECORDS,
    AttemptEnd,
    AttemptStart,
    Commit,
    FailedSample,
    Layout,
    Output,
    Record,
    Retry,
    Segment,
    Shard,
)

# The machine may be busy with other things.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

END = AttemptEnd(
    EndReason.FAILED, 2.5, 90, 3, FailureKind.OUT_OF_MEMORY, "läuft\nnicht", 60.0, 93,
    peak_memory=1 << 30, cpu_seconds=1.5,
)  # fmt: skip
FAILED = (
    FailedSample(0, SampleFailureKind.LOAD, "no such file"),
    FailedSample(1, SampleFailureKind.CRASH, "\udcff", 3),
)
EXAMPLES: list[Record] = [
    AttemptStart(2, 1, 1.5, "node7", 4711, "123_4", 1, ("cuda:0", "cpu"), 2, {"numpy": "2.0"}),
    END,
    Layout((Output("a", False, "<f4", (384,), None, 4096), Output("b", True, "|u1", (), "utf-8", 8192))),
    Commit(64, 128, {"a": "0" * 16, "b": "1" * 16}, {"b": Segment(10, 20, "2" * 16)}),
    Commit(0, 2, {}, failed=FAILED),
    Commit(0, 64, {"a": "0" * 16}, split=True, seconds=0.1234),
    Retry(3.5),
]


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: record.type)
def test_a_record_is_the_same_after_json(record: Record) -> None:
    data = json.loads(json.dumps(record.to_json()))

    assert RECORDS[data["type"]].from_json(data) == record


def test_every_kind_of_record_has_an_example() -> None:
    assert {record.type for record in EXAMPLES} == set(RECORDS)


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: record.type)
def test_fields_that_a_newer_version_adds_are_ignored(record: Record) -> None:
    data = json.loads(json.dumps(record.to_json())) | {"colour": "green"}

    assert RECORDS[data["type"]].from_json(data) == record


def test_an_undisturbed_commit_takes_no_room_for_what_did_not_happen() -> None:
    assert Commit(0, 64, {"a": "0" * 16}).to_json().keys() == {"type", "start", "stop", "hashes", "seconds"}


@patient
@given(st.integers(0, 1000), st.integers(0, 300), st.integers(1, 70))
def test_batches_cover_a_shard_once_and_in_order(start: int, rows: int, batch_size: int) -> None:
    shard = Shard(0, start, start + rows)

    covered = [row for first in shard.batches(batch_size) for row in range(first, shard.batch_stop(first, batch_size))]

    assert covered == list(range(start, start + rows))
    assert shard.rows == rows


@pytest.mark.parametrize("dtype", ["|b1", "|u1", "<i2", "<f4", "<f8", "<c8", "<c16"])
def test_row_bytes_are_those_of_numpy(dtype: str) -> None:
    shape = (3, 5)

    assert Output("x", False, dtype, shape).row_bytes == np.zeros((1, *shape), dtype).nbytes
    assert Output("x", True, dtype, shape).item_bytes == np.zeros((1, *shape), dtype).nbytes
    assert Output("x", True, dtype, shape).row_bytes == np.dtype(np.int64).itemsize


@pytest.mark.parametrize(
    "change",
    [{"name": "y"}, {"ragged": True}, {"dtype": "<f8"}, {"shape": (3,)}, {"encoding": "utf-8"}],
    ids=lambda change: next(iter(change)),
)
def test_outputs_of_another_form_differ(change: dict[str, Any]) -> None:
    output = Output("x", False, "<f4", (2,))

    assert not output.same_form(dataclasses.replace(output, **change))


def test_outputs_have_the_same_form_wherever_they_lie() -> None:
    assert Output("x", False, "<f4", (2,), offset=0).same_form(Output("x", False, "<f4", (2,), offset=4096))


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (Output("x", False, "<f4", (384,)), "<f4 [n, 384]"),
        (Output("x", True, "<f4", (3,)), "<f4 ragged [*, 3]"),
        (Output("x", True, "|u1", (), "utf-8"), "utf-8 ragged [*]"),
    ],
)
def test_a_form_is_described_by_dtype_and_shape(output: Output, text: str) -> None:
    assert output.describe() == text


def test_records_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Shard(0, 0, 1).stop = 2  # type: ignore[misc]
