"""Types of columns of text: a column is of numbers only where every cell prints back as it is written.

1.10, 007, 1E2, +5, TRUE and 12 beside 0.5 would come back as something else, so such columns stay text. The usual
spellings of a missing value (NA, null, nan, nothing) are nulls in the others.
"""

from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv


def strings(words: Sequence[bytes]) -> pa.Array:
    """As ``pa.array``, which imports pandas, and that takes longer than all else of planning a small run."""
    ends = array("i", accumulate(map(len, words), initial=0))
    return pa.StringArray.from_buffers(len(words), pa.py_buffer(ends), pa.py_buffer(b"".join(words)))


_NULLS = strings([word.encode() for word in pyarrow.csv.ConvertOptions().null_values])
_NULL = pa.nulls(1, pa.string())[0]
_BOOLEANS = strings([b"True", b"False"])
_TENTHS, _NOTHING = strings([b".0", b""])
# Between these Arrow prints a number as Python does.
_LEAST, _MOST = strings([b"1e-4", b"1e15"]).cast(pa.float64())


def _booleans_print_back(cells: pa.Array) -> bool:
    return _all(pc.is_in(cells, value_set=_BOOLEANS))


def _integers_print_back(cells: pa.Array) -> bool:
    """Those of 19 digits are codes: some fit 64 bits, others do not."""
    numbers = cells.cast(pa.int64())
    ends = pc.min_max(numbers)
    return _all(pc.equal(numbers.cast(pa.string()), cells)) and all(
        end is None or abs(end) < 10**18 for end in ends.as_py().values()
    )


def _floats_print_back(cells: pa.Array) -> bool:
    """As Python prints them. Arrow prints most in the same way, and the others are left to Python."""
    numbers = cells.cast(pa.float64())
    printed = numbers.cast(pa.string())
    size = pc.abs(numbers)
    alike = pc.and_(pc.greater_equal(size, _LEAST), pc.less(size, _MOST))
    has_point = pc.match_substring(cells, ".")
    others = cells.filter(pc.invert(pc.and_(pc.and_(pc.equal(printed, cells), has_point), alike)))
    return all(repr(float(cell)) == cell for cell in _not_whole(others).to_pylist())


def _not_whole(cells: pa.Array) -> pa.Array:
    """The cells but 12.0 and its like, which Arrow prints as 12."""
    printed = cells.cast(pa.float64()).cast(pa.string())
    return cells.filter(pc.not_equal(pc.binary_join_element_wise(printed, _TENTHS, _NOTHING), cells))


def _all(found: pa.Array) -> bool:
    return bool(pc.all(found, min_count=0).as_py())


# In the order of preference.
_KINDS: dict[pa.DataType, Callable[[pa.Array], bool]] = {
    pa.bool_(): _booleans_print_back,
    pa.int64(): _integers_print_back,
    pa.float64(): _floats_print_back,
}
PRINTED = frozenset(_KINDS)
"""The types of columns of text that are not text."""


class Kinds:
    """The types that all cells of a column so far can have."""

    def __init__(self) -> None:
        self._possible = list(_KINDS)
        self._empty = True

    def update(self, column: pa.Array) -> None:
        if not self._possible:
            return
        cells = column.filter(pc.invert(pc.is_in(column, value_set=_NULLS)))
        self._empty = self._empty and len(cells) == 0
        self._possible = [kind for kind in self._possible if prints_back(cells, kind)]

    def best(self) -> pa.DataType:
        return pa.null() if self._empty else next(iter(self._possible), pa.string())


def prints_back(cells: pa.Array, kind: pa.DataType) -> bool:
    """Whether each cell is one of a kind of PRINTED, as it is written."""
    try:
        return _KINDS[kind](cells)
    except pa.ArrowInvalid:  # some cell is no number at all
        return False


def typed(cells: pa.Array, own: pa.DataType, wanted: pa.DataType) -> pa.Array:
    """The cells with the type ``own`` of their column; as they are where ``wanted`` is text."""
    if pa.types.is_string(wanted):
        return cells
    cells = pc.if_else(pc.is_in(cells, value_set=_NULLS), _NULL, cells)
    return pa.nulls(len(cells)) if pa.types.is_null(own) else cells.cast(own)
