"""Stacked: arrays of items that become one array of a batch, with a new first axis."""

import sys
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

# Smaller arrays are cheaper joined as bytes first.
_LARGE = 4096
# Other kinds of arrays are more than their memory: a masked one's mask, a matrix's own rules.
PLAIN = (np.ndarray, np.memmap)
MOST_EXACT = 2**53
"""A float64 holds all whole numbers up to it."""
ADDED = 2
"""``isbuiltin`` of a dtype that another package has added (float8_e5m2): numpy does not know it by its text."""
_NUMBERS = frozenset("biufc")


def is_masked(array: object) -> "TypeGuard[np.ma.MaskedArray]":
    """Whether it is one of numpy.ma, which nobody needs to import to know: it would take 20 ms of each child's start."""
    return isinstance(array, getattr(sys.modules.get("numpy.ma.core"), "MaskedArray", ()))


def stack_arrays(arrays: Sequence[Any]) -> np.ndarray:
    """np.stack, which would forget what is masked.

    ValueError where it would round whole numbers, make text of numbers, or another date of one that is far from now; so for
    each field of a structured dtype.
    """
    stacked: np.ndarray = np.ma.stack(arrays) if any(map(is_masked, arrays)) else np.stack(arrays)
    _check(arrays, stacked)
    return stacked


def _check(arrays: Sequence[Any], stacked: np.ndarray) -> None:
    if stacked.dtype.names:
        for name in stacked.dtype.names:
            _check([array[name] for array in arrays], stacked[name])
        return
    kinds = {array.dtype.kind for array in arrays}
    if len(kinds) > 1 and not stacked.dtype.hasobject:
        _check_kept(arrays, kinds, stacked.dtype)
    if stacked.dtype.kind in "mM":
        _check_times(arrays, stacked)


def _check_kept(arrays: Sequence[Any], kinds: set[str], dtype: np.dtype) -> None:
    """Where kinds are mixed numpy takes one that has all of them in some way: 2**63 beside -1 becomes a float."""
    found = " and ".join(sorted({str(array.dtype) for array in arrays}))
    if not kinds <= _NUMBERS:
        raise ValueError(f"{found} have no dtype in common")
    if dtype.kind not in "fc":
        return
    for array in arrays:
        if array.dtype.kind in "iu" and ((array > MOST_EXACT) | (array < -MOST_EXACT)).any():
            raise ValueError(f"{found} become {dtype} together, which would round whole numbers over 2**53")


def _check_times(arrays: Sequence[Any], stacked: np.ndarray) -> None:
    """Of several units numpy takes the finest, in which 64 bits reach less far: what is beyond would become another time."""
    for array, row in zip(arrays, stacked, strict=True):
        if array.dtype != stacked.dtype and not np.array_equal(row.astype(array.dtype), array, equal_nan=True):
            raise ValueError(f"{array.dtype} becomes {stacked.dtype} beside others, which does not reach as far")


class Stacked:
    """Arrays of one shape and dtype that are still to be stacked: into the slot, without a copy in between."""

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.arrays = arrays
        self.shape = (len(arrays), *arrays[0].shape)
        self.dtype = arrays[0].dtype
        self.nbytes = len(arrays) * arrays[0].nbytes

    @classmethod
    def of(cls, arrays: Sequence[Any]) -> "Stacked | np.ndarray":
        """As stack_arrays, which does it at once where arrays differ: it raises, or finds a common dtype."""
        first = arrays[0]
        kind, shape, dtype = type(first), first.shape, first.dtype
        if kind not in PLAIN:
            return stack_arrays(arrays)
        for array in arrays:
            if type(array) is not kind or array.shape != shape or array.dtype != dtype:
                return stack_arrays(arrays)
        return np.stack(arrays) if dtype.hasobject or not dtype.isnative else cls(arrays)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """An array, on the other side: in a container that is pickled as a whole there is no slot for it."""
        return np.stack(self.arrays).__reduce_ex__(protocol)

    def copy_to(self, target: np.ndarray) -> None:
        """np.stack into ``target``, which is contiguous; without the view of each array that np.stack makes first."""
        if 0 < self.arrays[0].nbytes < _LARGE and self._join_into(target):
            return
        if len(self.shape) == 1:
            np.stack(self.arrays, out=target)
        else:
            length, each, *rest = self.shape
            np.concatenate(self.arrays, out=target.reshape(length * each, *rest))

    def _join_into(self, target: np.ndarray) -> bool:
        """bytes.join, which needs 20 ns a small array where concatenate needs 80; False where it cannot have them."""
        try:
            data = b"".join(self.arrays)  # type: ignore[arg-type]
        except (TypeError, BufferError):  # an array that is not contiguous
            return False
        target[...] = np.frombuffer(data, self.dtype).reshape(self.shape)
        return True


def stack_now(arrays: Sequence[Any]) -> np.ndarray:
    """As stack_arrays, and several times faster where there are many small arrays."""
    stacked = Stacked.of(arrays)
    if isinstance(stacked, np.ndarray):
        return stacked
    target = np.empty(stacked.shape, stacked.dtype)
    stacked.copy_to(target)
    return target
