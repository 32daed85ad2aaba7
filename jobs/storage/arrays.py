"""Arrays: what a Job returned, as an array that a result can hold: the same values, or an OutputError that names the output."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jobs.errors import OutputError
from jobs.stacked import ADDED, MOST_EXACT, is_masked
from jobs.tensors import is_tensor, to_numpy

# Where the C compiler's long double is x86's, an array has 10 bytes of it in 16; what is in the others is chance.
_PADDED = np.finfo(np.longdouble).nmant == 63
_MOST_DIMENSIONS = 32  # of a dataset in HDF5
# How containers of others give their elements as Python's own: pandas', pyarrow's, polars'.
_AS_LISTS = ("tolist", "to_pylist", "to_list", "rows")


def to_array(name: str, value: Any) -> np.ndarray:
    """A contiguous little-endian array of a storable dtype, from an array, a torch tensor or numbers.

    It may be the value's memory. Raises OutputError for everything else.
    """
    try:
        array = to_numpy(value) if is_tensor(value) else np.asanyarray(value)
    except ValueError as error:
        raise OutputError(f"output {name!r}: {error}; for rows of different length return a list of arrays") from None
    except (TypeError, RuntimeError) as error:  # a kind of tensor, or of object, that is no array
        raise OutputError(f"output {name!r}, {describe(value)}, is no array: {error}") from None
    if array.ndim > _MOST_DIMENSIONS:
        raise OutputError(f"output {name!r} has {array.ndim} dimensions; valid: {_MOST_DIMENSIONS} at most")
    if array.ndim and array is not value and not is_tensor(value):
        _check_exact(name, value, array)
    return plain_array(name, _unmasked(name, array))


def _check_exact(name: str, value: Any, array: np.ndarray) -> None:
    """Whole numbers beside fractions have become floats, which do not hold all of them."""
    if array.dtype.kind == "f" and re.match("u?int", str(getattr(value, "dtype", getattr(value, "type", ""))).lower()):
        raise OutputError(
            f"output {name!r} has whole numbers, and lacks some: there is no value for these; valid: other numbers in "
            "their places, as by fillna(-1), or floats, which are NaN there"
        )
    if array.dtype.kind not in "fc" or not (np.abs(array) >= np.float64(MOST_EXACT)).any():
        return
    for number in _whole_numbers(value):
        if int(float(number)) != number:
            raise OutputError(
                f"output {name!r}: {number} would be rounded to {array.dtype}; return an array of one dtype"
            )


def _whole_numbers(value: Any) -> Iterator[int]:
    """Those in lists, in what can be made one, and in tables."""
    if isinstance(value, int | np.integer):
        yield int(value)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _whole_numbers(item)
    elif as_list := to_list(value):
        yield from _whole_numbers(as_list())
    elif hasattr(value, "items"):  # columns of pandas' tables, a row of pyarrow's
        yield from _whole_numbers([item for _, item in value.items()])


def _unmasked(name: str, array: np.ndarray) -> np.ndarray:
    """What is masked is NaN, as other values that are missing; numbers that have no NaN are refused."""
    if not is_masked(array):
        return np.asarray(array)
    if array.dtype.kind not in "fc":
        raise OutputError(
            f"output {name!r} is a masked array of {array.dtype}, which has no value for what is masked; valid: an "
            "array, as of array.filled(-1), or a masked array of floats, which becomes NaN where it is masked"
        )
    filled: np.ndarray = array.filled(np.nan)
    return filled


def plain_array(name: str, array: np.ndarray) -> np.ndarray:
    """Contiguous and little-endian; raises OutputError where a result has no such dtype."""
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > 16 or array.dtype.isbuiltin == ADDED:
        raise OutputError(
            f"output {name!r} has dtype {array.dtype}; valid: bool, numbers, lists of str or bytes (of process_sample: one of "
            "them, not a list: several texts as one, by json.dumps)"
        )
    return unpadded(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape))


def unpadded(array: np.ndarray) -> np.ndarray:
    """The same values, in bytes that depend on nothing else, since those are hashed and compared; mostly the array itself."""
    if not (_PADDED and array.dtype.kind == "f" and array.dtype.itemsize == 16):
        return array
    copied = np.array(array, order="C")
    copied.reshape(-1).view(np.uint8).reshape(-1, 16)[:, 10:] = 0
    return copied


def to_list(value: Any) -> Callable[[], Any] | None:
    """The method by which a container of others gives its elements as Python's own."""
    methods = (getattr(value, method, None) for method in _AS_LISTS)
    return next(filter(callable, methods), None)  # a table of pandas has columns under their names


def describe(value: object) -> str:
    if inspect.isawaitable(value):
        return f"a {type(value).__name__} that was not awaited"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {list(value.shape)}"
    return f"{type(value).__name__}"
