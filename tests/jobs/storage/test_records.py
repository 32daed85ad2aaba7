import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.kinds import EndReason, FailureKind, SampleFailureKind
from jobs.storage.beats import Beat, GivenUp, Held
from jobs.storage.journal import RECORDS, decode, encode
from jobs.storage.records import (
    AttemptStart,
    Block,
    Commit,
    Commits,
    DataFile,
    FailedSample,
    Layout,
    Output,
    Record,
)
from jobs.storage.sample_failures import SampleFailures
from jobs.storage.shard_table import Shard
from jobs.storage.spans import Spans
from tests.support.builders import ELSEWHERE

# The machine may be busy with other things.

FAILED = (
    FailedSample(0, SampleFailureKind.LOAD, "no such file"),
    FailedSample(1, SampleFailureKind.CRASH, "\udcff", 3),
)
TOGETHER = (Block(1, 100, 20, "0" * 16), Block(1, 120, 0, "1" * 16), Block(1, 120, 7, "2" * 16))
APART = (Block(0, 100, 20, "0" * 16), Block(2, 10, 7, "1" * 16))
EXAMPLES: list[Record] = [
    AttemptStart(1, 2, 5, 1.5, "node7", ELSEWHERE, "123_4", 1, ("cuda:0", "cpu"), 2, {"numpy": "2.0"}),
    Layout((Output("a", False, "<f4", (384,)), Output("b", True, "|u1", (), "utf-8"))),
    DataFile(3, "../shards/000003.h5"),
    Commits((Commit(64, 128, TOGETHER, seconds=0.1234), Commit(0, 2, failed=FAILED))),
    Commits((Commit(0, 64, APART, FAILED[:1], split=True),)),
    Beat(0, 1.5),
    Beat(
        7, 1.5, Spans([(0, 8), (64, 128)]), 90, 3, 1.25, (Held(2, 1, 0, 64, 1000), Held(5, 3, 100, 128, 4000)), 16, 3.5,
        12.0, 4711, (GivenUp(3, FailureKind.TOO_MANY_FAILED_SAMPLES, "5 of 8"),), {3: 5, 4: 1},
        (SampleFailures(SampleFailureKind.LOAD, "no such file", 6, Spans([(3, 5)])),), EndReason.FAILED,
        FailureKind.OUT_OF_MEMORY, "läuft\nnicht", 60.0, 4, 1 << 31, 1 << 30, 1.5, 0.5,
    ),
]  # fmt: skip


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: record.type)
def test_a_record_is_the_same_after_json(record: Record) -> None:
    data = json.loads(json.dumps(record.to_json()))

    assert RECORDS[data["type"]].from_json(data) == record
    assert decode(encode(record)[:-1]) == record


def test_every_kind_of_record_has_an_example() -> None:
    assert {record.type for record in EXAMPLES} == set(RECORDS)


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: record.type)
def test_fields_that_a_newer_version_adds_are_ignored(record: Record) -> None:
    data = json.loads(json.dumps(record.to_json())) | {"colour": "green"}

    assert RECORDS[data["type"]].from_json(data) == record


def test_an_undisturbed_commit_takes_no_room_for_what_did_not_happen() -> None:
    assert Commit(0, 64, TOGETHER, seconds=0.25).to_json() == [
        0, 64, 0.25, 1, 100, [20, 0, 7], ["0" * 16, "1" * 16, "2" * 16],
    ]  # fmt: skip


blocks = st.lists(
    st.builds(Block, st.integers(0, 2), st.integers(0, 99), st.integers(0, 9), st.just("0" * 16)), max_size=4
)


@given(blocks.map(tuple), st.booleans())
def test_blocks_are_the_same_after_json_wherever_they_lie(found: tuple[Block, ...], split: bool) -> None:
    commit = Commit(0, 64, found, split=split)

    assert Commit.from_json(json.loads(json.dumps(commit.to_json()))) == commit


@given(st.integers(0, 100), st.integers(101, 200), st.integers(0, 100))
def test_rows_counted_from_a_later_one_are_the_same_rows(start: int, stop: int, first: int) -> None:
    commit = Commit(start, stop, failed=(FailedSample(start, SampleFailureKind.LOAD, ""),))
    found = commit.counted_from(first)

    assert (found.start + first, found.stop + first, found.failed[0].row + first) == (start, stop, start)


@pytest.mark.parametrize("dtype", ["|b1", "|u1", "<i2", "<f4", "<f8", "<c8", "<c16"])
def test_row_bytes_are_those_of_numpy(dtype: str) -> None:
    shape = (3, 5)

    assert Output("x", False, dtype, shape).row_bytes == np.zeros((1, *shape), dtype).nbytes
    assert Output("x", True, dtype, shape).item_bytes == np.zeros((1, *shape), dtype).nbytes
    assert Output("x", True, dtype, shape).row_bytes == np.dtype(np.int64).itemsize


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
