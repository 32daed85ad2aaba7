"""Samples from Python: tables and rows of every kind become the manifest that they mean; no values are told by their place."""

import datetime
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import InputError
from launcher.manifest.manifest import build_manifest
from launcher.python.plain import NotPlainError, plain
from launcher.python.samples import unseen_index, write

Point = namedtuple("Point", "x y")


@dataclass
class Row:
    x: int
    name: str


def read(samples: Any, folder: Path) -> list[dict[str, Any]]:
    """The rows of the manifest that a plan makes of them."""
    write(samples, folder / "samples.arrow")
    build_manifest(str(folder / "samples.arrow"), folder / "manifest.arrow", None, None)
    with pa.OSFile(str(folder / "manifest.arrow")) as file:
        rows: list[dict[str, Any]] = pa.ipc.open_file(file).read_all().to_pylist()
    return rows


NOON = datetime.datetime(2026, 1, 1, 12)
DAY = NOON.date()


@pytest.mark.parametrize(
    ("samples", "is_noted"),
    [
        (pd.DataFrame({"x": [1, 2]}), False),
        (pd.DataFrame({"x": [1, 2]}).iloc[1:], False),
        (pd.DataFrame({"x": [1, 2]}, index=["a", "b"]), True),
        (pd.DataFrame({"x": [1, 2]}).rename_axis("key"), True),
        (pd.DataFrame({"x": [1], "y": [1], "z": [1]}).set_index(["x", "y"]), True),
        ([{"x": 1}], False),
    ],
)
def test_an_index_that_no_sample_has_is_noted(samples: object, is_noted: bool) -> None:
    assert bool(unseen_index(samples)) is is_noted


@pytest.mark.parametrize(
    ("samples", "rows"),
    [
        ([{"x": 1, "y": "a"}, {"x": 2}], [{"x": 1, "y": "a"}, {"x": 2, "y": None}]),
        (pd.DataFrame({"x": [1, 2], "t": [NOON, NOON]}, index=[7, 8]), [{"x": 1, "t": NOON}, {"x": 2, "t": NOON}]),
        (pd.DataFrame({"p": [Path("a"), None], 0: [1.5, 2]}), [{"p": "a", "0": 1.5}, {"p": None, "0": 2.0}]),
        (pa.table({"x": [1, 2]}), [{"x": 1}, {"x": 2}]),
        (pa.record_batch({"x": [b"1"]}), [{"x": b"1"}]),
        (range(3), [{"value": 0}, {"value": 1}, {"value": 2}]),
        ((name for name in ["a", Path("b")]), [{"value": "a"}, {"value": "b"}]),
        ([{"p": [Path("a")], "d": {"k": Path("b")}}], [{"p": ["a"], "d": {"k": "b"}}]),
        (
            pa.concat_tables([pa.table({"c": pa.array([v]).dictionary_encode()}) for v in "ab"]),
            [{"c": "a"}, {"c": "b"}],
        ),
        (pd.DataFrame({"c": pd.Categorical(["a", "b", "a"])}), [{"c": "a"}, {"c": "b"}, {"c": "a"}]),
        ([Point(1, 2)], [{"x": 1, "y": 2}]),
        ([Row(1, "a")], [{"x": 1, "name": "a"}]),
        ([{1.5, 0.5}, [None]], [{"value": [0.5, 1.5]}, {"value": [None]}]),
        (pd.DataFrame({"x": ["a", None, np.nan, pd.NA]}), [{"x": "a"}, *([{"x": None}] * 3)]),
        ([1, None, 0.5], [{"value": 1.0}, {"value": None}, {"value": 0.5}]),
        ([{"v": np.float32(0.5), "l": [1, 2], "d": {"k": NOON}}], [{"v": 0.5, "l": [1, 2], "d": {"k": NOON}}]),
    ],
)
def test_samples_of_every_kind_become_rows(tmp_path: Path, samples: Any, rows: list[dict[str, Any]]) -> None:
    assert read(samples, tmp_path) == rows


def test_many_rows_keep_their_order_and_widen_their_types(tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        for number in range(70_000):
            yield {"x": number if number < 69_000 else number + 0.5, **({"late": "z"} if number == 69_999 else {})}

    found = read(rows(), tmp_path)
    assert [row["x"] for row in found] == [float(n) if n < 69_000 else n + 0.5 for n in range(70_000)]
    assert (found[0]["late"], found[-1]["late"]) == (None, "z")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([{"x": 1}, {"x": object()}], r"row 1, column 'x': an object is no plain value"),
        ([{"x": 1}, {"x": 2}, {"x": "a"}], r"row 2, column 'x': 'a' is no plain value, or of another type"),
        ([{"x": 2**70}], r"row 0, column 'x': 1180591620717411303424"),
        ([{"x": 1}, 5], r"row 1: 5 is no mapping"),
        ([], r"samples: there are none"),
        (7, r"samples: an int is not valid"),
        (pd.DataFrame({"x": [1, lambda: 1]}), r"row 1, column 'x': a function"),
        ([{"a": 1}] * 65_536 + [{}] * 5, r"row 65536: a mapping that is empty is no sample"),
        ([{"a": 1}, {}], r"row 1: a mapping that is empty is no sample"),
        ([1] * 65_536 + [{"a": 1}], r"row 65536: a dict is a mapping, and others are values"),
        ([{"a": 1}] * 65_536 + [1], r"row 65536: 1 is no mapping"),
        (["a"] * 65_536 + [b"a"], r"of types that do not go together: value: string and binary"),
        ([b"a"] * 65_536 + ["a"], r"of types that do not go together: value: string and binary"),
        ([2**60] * 65_536 + [0.5], r"of types that do not go together"),
        ([Decimal("0.12345678901234567890")] * 65_536 + [0.5], r"of types that do not go together"),
        (pd.DataFrame([[1, 2]], columns=[0, "0"]), r"two columns have the name '0'"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), r"two columns have the name 'a'"),
        (pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), r"two columns have the name 'a'"),
        (pa.chunked_array([[1, 2]]), r"a ChunkedArray is no table"),
        (["a", b"a"], r"row 0, column 'value': tasks would get b'a' in place of 'a'"),
        ([{"x": ["a", b"b"]}], r"tasks would get \['a', 'b'\] in place of \['a', b'b'\]"),
        ([DAY, NOON], r"row 1, column 'value': tasks would get datetime.date\(2026, 1, 1\) in place of datetime.datetime"),
        (pd.DataFrame({"x": [DAY, NOON]}), r"row 1, column 'x': tasks would get datetime.date\(2026, 1, 1\)"),
        ([NOON.replace(tzinfo=datetime.UTC), NOON], r"row 1, .*all times with a zone or none"),
        ([NOON, NOON.replace(tzinfo=datetime.UTC)], r"row 1, .*all times with a zone or none"),
        ([datetime.time(1, tzinfo=datetime.UTC)], r"tasks would get datetime.time\(1, 0\) in place of"),
        ([pd.Timestamp(1)], r"in place of Timestamp\('1970-01-01 00:00:00.000000001'\).*what is finer as text"),
        ([{"x": 1}] * 65_536 + [{"x": "a"}], r"the values of a column are of types that do not go together"),
    ],
)  # fmt: skip
def test_what_is_no_value_is_told_by_row_and_column(tmp_path: Path, samples: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write(samples, tmp_path / "samples.arrow")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=20)
@given(VALUES)
def test_what_yaml_knows_is_plain_as_it_is(value: Any) -> None:
    assert plain(value) == value


def test_numpy_numbers_paths_tuples_and_sets_are_plain() -> None:
    assert plain({"a": (np.int64(3), Path("x")), "b": {2, 1}}) == {"a": [3, "x"], "b": [1, 2]}
    assert type(plain(np.float64(0.5))) is float


def test_an_object_is_not_plain_and_says_what_it_is() -> None:
    with pytest.raises(NotPlainError, match=r"a ndarray is no plain value; valid: text, a number"):
        plain([np.zeros(3)])
