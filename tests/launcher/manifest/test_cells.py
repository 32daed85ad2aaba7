"""Cells: one of which Python makes no value is found before it fails its neighbours."""

import datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.manifest.cells import unreadable

LATIN = pa.StringArray.from_buffers(3, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xe9b"))
FAR = pa.array([0, None, 10**12], pa.int64())

times = st.one_of(
    st.lists(st.none() | st.datetimes()),
    st.lists(st.none() | st.dates()),
    st.lists(st.none() | st.times()),
    st.lists(st.none() | st.timedeltas(datetime.timedelta(-(10**5)), datetime.timedelta(10**5))),
    st.lists(st.none() | st.text()),
    st.lists(st.none() | st.lists(st.datetimes())),
)


@pytest.mark.parametrize(
    ("column", "row"),
    [
        (LATIN, 1),
        (pa.ListArray.from_arrays([0, 1, 3], LATIN), 1),
        (pa.StructArray.from_arrays([LATIN], ["x"]), 1),
        (FAR.cast(pa.timestamp("s")), 2),
        (pa.ListArray.from_arrays([0, 2, 3], FAR.cast(pa.timestamp("s"))), 1),
        (pa.array([0, 10**7], pa.int32()).cast(pa.date32()), 1),
        (pa.array([None, 1], pa.timestamp("us", tz="Nowhere/At all")), 1),
    ],
)
def test_the_first_cell_that_is_no_value_is_found(column: pa.Array, row: int) -> None:
    found = unreadable(column)
    assert found is not None
    assert found[0] == row
    assert found[1]


@given(times)
def test_python_values_are_readable(values: list[object]) -> None:
    assert unreadable(pa.array(values)) is None
    assert unreadable(pa.array(values).slice(1)) is None
