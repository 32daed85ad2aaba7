"""Types of text columns: whatever the cells are, they print back as they are written."""

import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from launcher.manifest.csv_types import Kinds, typed

NULLS = set(pyarrow.csv.ConvertOptions().null_values)

ODD = """
    1.10 007 1E2 1e+16 1e16 1e-05 0.00001 TRUE True False true +5 -5 2.50 -0 -0.0 0.0 0 1_000 0x1A inf -inf Infinity 1. .5
    9007199254740993.0 1e15 1e22 123456789012345678 1234567890123456789 9223372036854775808 NA
"""
odd = st.sampled_from([*ODD.split(), "", " 1", "1 ", "1\n", "\u0661"])
numbers = st.integers().map(str) | st.floats().map(repr) | st.decimals(allow_nan=False).map(str)
cells = odd | numbers | st.text(max_size=5)


def best(columns: list[list[str]]) -> pa.DataType:
    kinds = Kinds()
    for column in columns:
        kinds.update(pa.array(column, pa.string()))
    return kinds.best()


@given(st.lists(st.lists(cells, max_size=4), max_size=3))
@example([["1.0"], ["1"]])
@example([["1e-05", "0.0001", "1000000000000000.0", "0.1234567890123456"]])
def test_every_cell_that_is_no_null_prints_back(columns: list[list[str]]) -> None:
    kind = best(columns)
    for column in columns:
        for value, cell in zip(typed(pa.array(column, pa.string()), kind, kind).to_pylist(), column, strict=True):
            assert (cell in NULLS) if value is None else str(value) == cell


@given(st.lists(st.none() | st.integers(-(10**18) + 1, 10**18 - 1), min_size=1).filter(any))
def test_whole_numbers_as_python_prints_them_are_numbers(values: list[int | None]) -> None:
    assert best([["" if value is None else str(value) for value in values]]) == pa.int64()


@given(st.lists(st.none() | st.floats(allow_nan=False), min_size=1).filter(any))
def test_numbers_as_python_prints_them_are_numbers(values: list[float | None]) -> None:
    assert best([["" if value is None else repr(value) for value in values]]) == pa.float64()


@pytest.mark.parametrize("columns", [[], [[]], [["", "NA"], ["null"]]])
def test_a_column_of_nulls_has_no_type_yet(columns: list[list[str]]) -> None:
    assert best(columns) == pa.null()
