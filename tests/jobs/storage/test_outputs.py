import copy
from collections import UserDict, UserList
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.errors import OutputError
from jobs.storage.arrays import plain_array
from jobs.storage.outputs import Columns, check_form, join, to_columns, without_values

# The machine may be busy with other things.


def rows_of(columns: Columns, name: str) -> list[Any]:
    """One value a row, whatever the kind of output."""
    column = columns[name]
    if column.lengths is None:
        return list(column.data)
    return np.split(column.data, np.cumsum(column.lengths)[:-1])


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "i8", "f2", "f4", "f8", "c8", "c16"])
def test_an_array_is_stored_as_it_is(dtype: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)

    column = to_columns({"x": array}, 3)["x"]

    assert column.data.dtype == array.dtype
    assert column.lengths is None
    np.testing.assert_array_equal(column.data, array)


def test_owned_outputs_do_not_change_with_what_the_job_writes_to() -> None:
    torch = pytest.importorskip("torch")
    array, rows, tensor = np.arange(6.0).reshape(3, 2), [np.arange(2), np.arange(5)[1:], np.arange(0)], torch.arange(3)
    series = pandas.Series([1, 2, 3])
    outputs = UserDict(
        array=array,
        half=array[:, :1],
        rows=UserList(rows),
        tensor=tensor,
        text=["a", "b", "c"],
        series=series,
        view=Viewed(array),
        half_floats=tensor.to(torch.bfloat16),
    )
    expected = to_columns({name: copy.deepcopy(value) for name, value in outputs.items()}, 3)

    owned = to_columns(outputs, 3, own=True)
    array[:], rows[0][:], tensor[:], series[:] = -1, -1, -1, -1

    for name, column in expected.items():
        np.testing.assert_array_equal(owned[name].data, column.data)
        np.testing.assert_array_equal(owned[name].lengths, column.lengths)


class Viewed:
    """What numpy can make an array of, without a copy."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._array


def test_an_array_in_another_byte_order_or_layout_keeps_its_values() -> None:
    array = np.arange(12, dtype=">i4").reshape(4, 3).T

    column = to_columns({"x": array}, 3)["x"]

    assert column.data.dtype.str == "<i4"
    assert column.data.flags.c_contiguous
    np.testing.assert_array_equal(column.data, array)


def test_a_list_of_numbers_is_an_array() -> None:
    column = to_columns({"x": [1.5, 2.5]}, 2)["x"]

    assert column.lengths is None
    assert column.data.tolist() == [1.5, 2.5]


@pytest.mark.parametrize("values", [[[1, 2], [3]], [[1, 2], [3, 4]]], ids=["lengths differ", "lengths agree"])
def test_a_list_of_lists_is_ragged_whatever_their_lengths(values: list[list[int]]) -> None:
    columns = to_columns({"x": values}, 2)

    assert columns["x"].lengths is not None
    assert [row.tolist() for row in rows_of(columns, "x")] == values


def test_rows_of_a_ragged_output_keep_their_item_shape() -> None:
    column = to_columns({"boxes": [np.ones((2, 4), np.float32), np.zeros((0, 4), np.float32)]}, 2)["boxes"]

    assert column.form("boxes").describe() == "<f4 ragged [*, 4]"
    assert column.lengths is not None
    assert column.lengths.tolist() == [2, 0]


@pytest.mark.parametrize("values", [["a", "", "zwölf"], np.array(["a", "", "zwölf"]), ("a", "", "zwölf")], ids=repr)
def test_strings_are_bytes_with_an_encoding(values: Any) -> None:
    columns = to_columns({"x": values}, 3)

    assert columns["x"].encoding == "utf-8"
    assert [bytes(row).decode() for row in rows_of(columns, "x")] == ["a", "", "zwölf"]


def test_bytes_are_stored_as_they_are() -> None:
    columns = to_columns({"x": [b"a\0b", b""]}, 2)

    assert columns["x"].encoding == "bytes"
    assert [bytes(row) for row in rows_of(columns, "x")] == [b"a\0b", b""]


@pytest.mark.filterwarnings("ignore:ComplexHalf support")
def test_a_tensor_is_an_array_and_what_numpy_has_not_is_wider() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.arange(6.0).reshape(2, 3)
    outputs = {name: tensor.to(getattr(torch, name)) for name in ("float64", "bfloat16", "float8_e4m3fn", "complex32")}

    columns = to_columns(outputs, 2)

    assert [column.data.dtype.str for column in columns.values()] == ["<f8", "<f4", "<f4", "<c8"]
    for column in columns.values():
        np.testing.assert_array_equal(column.data, tensor.numpy())


def test_a_tensor_that_torch_conjugated_or_negated_in_name_only_is_stored_as_it_reads() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.complex(torch.arange(3.0), torch.ones(3))

    columns = to_columns({"conjugated": tensor.conj(), "negated": tensor.conj().imag}, 3)

    assert columns["conjugated"].data.tolist() == [0 - 1j, 1 - 1j, 2 - 1j]
    assert columns["negated"].data.tolist() == [-1, -1, -1]


def test_a_tensor_that_is_no_array_is_refused_by_name() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(OutputError, match=r"'x', Tensor, is no array: .*to_dense"):
        to_columns({"x": torch.eye(2).to_sparse()}, 2)


@pytest.mark.parametrize("masked", [np.ma.array([1.5, 2.5], mask=[True, False]), [np.ma.masked, 2.5]], ids=repr)
def test_what_is_masked_is_missing(masked: Any) -> None:
    np.testing.assert_array_equal(to_columns({"x": masked}, 2)["x"].data, [np.nan, 2.5])


def test_a_masked_array_of_what_cannot_be_missing_is_refused_whether_or_not_something_is() -> None:
    for mask in ([True, False], [False, False]):
        with pytest.raises(OutputError, match=r"'x' is a masked array of int64.*filled"):
            to_columns({"x": np.ma.array([1, 2], mask=mask)}, 2)


class Shouting(str):
    def encode(self, *_: Any) -> bytes:
        return self.upper().encode()


def test_texts_are_stored_as_they_are_or_refused_by_name() -> None:
    assert bytes(to_columns({"x": [Shouting("ab")]}, 1)["x"].data) == b"ab"
    with pytest.raises(OutputError, match=r"'x': a text has .*half of a character"):
        to_columns({"x": ["a\ud800"]}, 1)


NOTHING: list[Any] = [[], np.array([]), np.zeros(0, np.float32)]


@pytest.mark.parametrize("nothing", NOTHING, ids=["list", "array", "float32"])
@pytest.mark.parametrize("something", [[1, 2], np.ones((2, 4), np.int8), (0.5,)], ids=["ints", "boxes", "floats"])
def test_what_is_empty_is_of_the_kind_of_the_others(nothing: Any, something: Any) -> None:
    mixed = to_columns({"x": [nothing, something, nothing]}, 3)["x"]
    alone = to_columns({"x": [something]}, 1)["x"]
    empty = to_columns({"x": [nothing, nothing]}, 2)["x"]

    assert mixed.form("x") == alone.form("x")
    assert mixed.lengths is not None
    assert mixed.lengths.tolist() == [0, len(something), 0]
    for one, other in ((empty, alone), (alone, empty)):
        check_form({"x": one}, [other.form("x")])
        joined = join([(np.arange(one.rows), {"x": one}), (np.arange(one.rows, 3), {"x": other})], 3)["x"]
        assert joined.form("x") == alone.form("x")
        np.testing.assert_array_equal(joined.data, alone.data)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (None, "process returned NoneType; valid: a dict"),
        ({}, "process returned dict"),
        (np.zeros((2, 3)), r"process returned float64 array of shape \[2, 3\]"),
        ({"x": np.zeros(3)}, "'x' has 3 rows for a batch of 2 samples"),
        ({"x": []}, "'x' has 0 rows for a batch of 2 samples"),
        ({"x": ["a", "b", "c"]}, "'x' has 3 rows"),
        ({"x": 3.0}, "'x' is a single value; its first axis must be the batch"),
        ({"x": "text"}, "'x' has dtype <U4"),
        ({3: np.zeros(2)}, "name 3 is not valid"),
        ({"a/b": np.zeros(2)}, "name 'a/b' is not valid: letters, digits and _"),
        ({"status": np.zeros(2)}, "'status' is not valid: .*not one of errors, id, index, status, summary"),
        ({"index": np.zeros(2)}, "'index' is not valid"),
        ({"x": [None, None]}, "'x' has dtype object"),
        ({"x": [{}, {}]}, "'x' has dtype object"),
        ({"x": np.array(["2024-01-01", "2024-01-02"], "M8[D]")}, r"'x' has dtype datetime64\[D\]; valid: bool"),
        ({"x": ["a", 1]}, "'x' mixes int, str"),
        ({"x": ["a", b"b"]}, "'x' mixes bytes, str"),
        ({"x": [2**53 + 1, 0.5]}, "'x': float64 and int64 become float64 together.*round"),
        ({"x": [[2**53 + 1, 0.5], [0.5]]}, "'x': 9007199254740993 would be rounded"),
        ({"x": np.zeros((2, *[1] * 32))}, "'x' has 33 dimensions; valid: 32 at most"),
        ({"x": np.array([["a"], ["b"]])}, "'x' has dtype <U1"),
        ({"x": [["a"], ["b", "c"]]}, "'x' has dtype <U1"),
        ({"x": [np.zeros(2), 1.0]}, "'x' mixes"),
        ({"x": [np.zeros((1, 2)), np.zeros((1, 3))]}, "differ in their first axis only"),
        ({"x": [np.zeros(1, np.float32), np.zeros(1)]}, "'x' mixes float32 array.*float64 array"),
        ({"x": [np.zeros((1, 0)), np.zeros((2, 0))]}, r"'x': items of shape \[0\] have no elements"),
        ({"x": [[[1], [2, 3]], [[4]]]}, "'x': .*return a list of arrays"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_name(outputs: object, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        to_columns(outputs, 2)


@pytest.mark.parametrize(
    ("later", "message"),
    [
        ({"x": np.zeros((2, 3))}, r"'x' is <f8 \[n, 3\]; the first batch had <f4 \[n, 3\]"),
        ({"x": np.zeros((2, 4), np.float32)}, r"'x' is <f4 \[n, 4\]"),
        ({"x": [np.zeros((1, 3), np.float32)] * 2}, r"'x' is <f4 ragged \[\*, 3\]; the first batch had <f4 \[n, 3\]"),
        ({"x": ["a", "b"]}, r"'x' is utf-8 ragged"),
        ({"y": np.zeros((2, 3), np.float32)}, r"outputs are \['y'\]; the first batch had \['x'\]"),
    ],
)
def test_a_batch_that_differs_from_the_first_is_refused(later: dict[str, Any], message: str) -> None:
    first = to_columns({"x": np.zeros((2, 3), np.float32)}, 2)["x"].form("x")

    with pytest.raises(OutputError, match=message):
        check_form(to_columns(later, 2), [first])


def test_a_batch_like_the_first_passes_wherever_its_outputs_lie() -> None:
    columns = to_columns({"x": [[1]], "y": ["a"]}, 1)

    check_form(columns, [column.form(name) for name, column in columns.items()])


def outputs_of(rows: list[int]) -> dict[str, Any]:
    return {
        "vector": np.array([[row, -row] for row in rows], np.float32),
        "label": np.array(rows, np.int16),
        "tokens": [np.arange(row % 4, dtype=np.int32) + row for row in rows],
        "boxes": [np.full((row % 3, 2), row, np.float64) for row in rows],
        "text": ["ä" * (row % 3) + str(row) for row in rows],
    }


@st.composite
def divided_batches(draw: st.DrawFn) -> tuple[int, list[list[int]]]:
    """A number of rows, and parts of them in any order: each row in one part at most."""
    rows = draw(st.integers(1, 12))
    order = draw(st.permutations(range(rows)))
    cuts = sorted(draw(st.lists(st.integers(0, rows), max_size=4)))
    bounds = [0, *cuts]
    parts = [list(order[start:stop]) for start, stop in zip(bounds, [*cuts, rows], strict=True)]
    kept = [part for part in parts if part][draw(st.integers(0, 2)) :]
    return rows, kept or [list(order[:1])]


@given(divided_batches())
@example((2, [[1, 0]]))
@example((3, [[0, 2], [1]]))
@example((3, [[2], [0, 1]]))
@example((4, [[3]]))
def test_parts_of_a_batch_join_to_the_batch_with_fill_values_in_the_gaps(batch: tuple[int, list[list[int]]]) -> None:
    rows, parts = batch
    whole = to_columns(outputs_of(list(range(rows))), rows)

    joined = join([(np.array(part), to_columns(outputs_of(part), len(part))) for part in parts], rows)

    covered = {row for part in parts for row in part}
    assert joined.keys() == whole.keys()
    for name, column in joined.items():
        assert column.form(name) == whole[name].form(name)
        assert column.rows == rows
        assert column.data.flags.c_contiguous
        found, expected = rows_of(joined, name), rows_of(whole, name)
        for row in range(rows):
            if row in covered:
                np.testing.assert_array_equal(found[row], expected[row])
            elif column.lengths is not None:
                assert len(found[row]) == 0
            else:
                np.testing.assert_array_equal(found[row], without_values(expected[row].shape, column.data.dtype))


@given(divided_batches())
def test_the_bytes_of_a_joined_batch_do_not_depend_on_the_order_of_its_parts(
    batch: tuple[int, list[list[int]]],
) -> None:
    rows, parts = batch
    made = [(np.array(part), to_columns(outputs_of(part), len(part))) for part in parts]

    forward, backward = join(made, rows), join(made[::-1], rows)

    for name, column in forward.items():
        assert column.data.tobytes() == backward[name].data.tobytes()
        assert (column.lengths is None) == (backward[name].lengths is None)
        if column.lengths is not None:
            np.testing.assert_array_equal(column.lengths, backward[name].lengths)


def test_a_whole_batch_is_not_copied() -> None:
    columns = to_columns(outputs_of([0, 1, 2]), 3)

    assert join([(np.arange(3), columns)], 3) is columns


def test_a_batch_without_results_has_no_columns() -> None:
    assert join([], 3) == {}


def test_parts_that_differ_in_form_are_refused() -> None:
    parts = [(np.array([row]), to_columns({"x": np.zeros((1, 2 + row))}, 1)) for row in range(2)]

    with pytest.raises(OutputError, match=r"'x' is <f8 \[n, 3\]"):
        join(parts, 2)


@pytest.mark.parametrize(("dtype", "value"), [("f4", np.nan), ("c8", np.nan), ("i4", 0), ("?", False), ("u1", 0)])
def test_rows_without_a_value_hold_nan_or_0(dtype: str, value: Any) -> None:
    np.testing.assert_equal(np.array(without_values((), np.dtype(dtype)), dtype), np.array(value, dtype))


numbers = (
    st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([2**53 + 1, -(2**53) - 1, 2**63 + 1])
    | st.floats(allow_nan=False)
    | st.booleans()
)


@given(values=st.lists(numbers, min_size=2, max_size=2), nested=st.booleans())
@example(values=[2**63 + 1, -1], nested=False)
@example(values=[0.5, 2**53 + 1], nested=True)
def test_numbers_in_lists_are_stored_as_they_are_or_refused(values: list[Any], nested: bool) -> None:
    try:
        columns = to_columns({"x": [values, values] if nested else values}, 2)
    except OutputError:
        return
    found = [row.tolist() for row in rows_of(columns, "x")]
    assert (found[0] if nested else found) == values


@pytest.mark.parametrize("missing", [None, 0])
@pytest.mark.parametrize("number", [1, 2**60 + 1])
def test_whole_numbers_of_other_libraries_are_exact_or_refused(number: int, missing: int | None) -> None:
    arrow = pytest.importorskip("pyarrow")
    values = [number, missing]
    for container in (pandas.Series(values, dtype="Int64"), arrow.array(values, arrow.int64())):
        if missing is None:
            with pytest.raises(OutputError, match="'x' has whole numbers, and lacks some"):
                to_columns({"x": container}, 2)
        else:
            assert to_columns({"x": container}, 2)["x"].data.tolist() == values


def test_whole_numbers_in_a_table_beside_fractions_are_exact_or_refused() -> None:
    arrow, polars = pytest.importorskip("pyarrow"), pytest.importorskip("polars")
    for number in (2**53, 2**53 + 1):
        columns = {"a": [number, 1], "b": [0.5, 0.5]}
        for table in (pandas.DataFrame(columns), arrow.table(columns), polars.DataFrame(columns)):
            if number == 2**53:
                assert to_columns({"x": table}, 2)["x"].data.tolist() == [[number, 0.5], [1, 0.5]]
            else:
                with pytest.raises(OutputError, match="'x': 9007199254740993 would be rounded"):
                    to_columns({"x": table}, 2)


def test_a_column_that_is_called_as_a_method_of_other_tables_is_a_column() -> None:
    assert to_columns({"x": pandas.DataFrame({"rows": [2.0**60, 1.0]})}, 2)["x"].data.tolist() == [[2.0**60], [1.0]]


def test_halves_are_not_compared_with_what_they_cannot_hold() -> None:
    with np.errstate(all="raise"):  # as a Job may have it
        assert to_columns({"x": [[np.float16(1)], [np.float16(2)]]}, 2)["x"].data.tolist() == [1, 2]


def test_a_dtype_that_only_another_package_knows_is_refused() -> None:
    """As float8_e5m2 of ml_dtypes, which numpy calls <f1: no result could be read."""
    added: Any = SimpleNamespace(dtype=SimpleNamespace(kind="f", itemsize=1, isbuiltin=2))
    with pytest.raises(OutputError, match="'x' has dtype"):
        plain_array("x", added)


def texts_of_libraries(values: list[Any]) -> list[Any]:
    arrow = pytest.importorskip("pyarrow")
    kinds = ("string", "category", object) if isinstance(values[0], str) else (object,)
    series = [pandas.Series(values, dtype=kind) for kind in kinds]
    return [*series, np.array(values, object), arrow.array(values), arrow.chunked_array([values[:1], values[1:]])]


@pytest.mark.parametrize("values", [["a", "ü"], [b"a\0", b"\xff"]])
def test_text_of_other_libraries_is_text(values: list[Any]) -> None:
    for container in texts_of_libraries(values):
        columns = to_columns({"x": container}, 2)
        assert [bytes(row) for row in rows_of(columns, "x")] == [
            value.encode() if isinstance(value, str) else value for value in values
        ]
        assert columns["x"].encoding == to_columns({"x": values}, 2)["x"].encoding
    for container in texts_of_libraries([values[0], None]):
        with pytest.raises(OutputError, match=r"'x' mixes .*: a list of text is of str alone"):
            to_columns({"x": container}, 2)


class Names(StrEnum):
    """As users write them down in one place."""

    VECTOR = "vector"


def test_a_name_of_a_derived_class_is_plain_text_for_those_that_lack_the_class() -> None:
    (name,) = to_columns({Names.VECTOR: [1]}, 1)
    assert (type(name), name) == (str, "vector")


@pytest.mark.skipif(np.finfo(np.longdouble).nmant != 63, reason="long doubles have no padding here")
def test_long_doubles_that_are_the_same_have_the_same_bytes() -> None:
    """x86's are 10 bytes in 16; results are hashed and compared by bytes."""
    raw = np.zeros((3, 16), np.uint8)
    raw[:, :10] = np.array([1, 2, 3], np.longdouble).reshape(3, 1).view(np.uint8)[:, :10]
    stored = set()
    for padding in (0x55, 0xAA):
        raw[:, 10:] = padding
        stored.add(to_columns({"x": raw.view(np.longdouble)[:, 0]}, 3)["x"].data.tobytes())
    assert len(stored) == 1
    assert not any(without_values((2,), np.dtype(np.longdouble)).tobytes()[10:16])
