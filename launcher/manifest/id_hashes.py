"""Hashes of ids, of all in a record batch at once: in Python each would take as long as reading its row does.

They tell which ids may be equal, and live no longer than a check does; equal ids have equal hashes, whatever batch they are in.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from launcher.manifest.fingerprint import bounds

_WORD = 8
# Longer ids are hashed one by one: a single one of a megabyte would mean as many steps for all.
_LONG = 512
# Odd numbers without a pattern, those of splitmix64.
_STEP, _MIX, _LAST = (np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_Hashes = npt.NDArray[np.uint64]
_Numbers = npt.NDArray[np.int64]


def id_hashes(column: pa.Array) -> _Hashes:
    """uint64 [rows]; 0 for an id that is null or empty, and for no other."""
    ids = column.view(pa.binary())  # cast would import pyarrow.compute, which takes 70 ms
    offsets = bounds(ids).astype(np.int64)
    data = memoryview(ids.buffers()[2] or b"")[offsets[0] : offsets[-1]]
    offsets -= offsets[0]
    lengths = np.diff(offsets)
    if ids.null_count:
        lengths[~ids.is_valid().to_numpy(zero_copy_only=False)] = 0
    is_long = lengths > _LONG
    found = _hash(data, offsets[:-1], np.where(is_long, 0, lengths))
    for row in np.flatnonzero(is_long):
        found[row] = xxhash.xxh3_64_intdigest(data[offsets[row] : offsets[row + 1]]) | 1
    return found


def _hash(data: memoryview, starts: _Numbers, lengths: _Numbers) -> _Hashes:
    """Of texts that begin there: the longest come first, so that those that have another word are always the first ones."""
    order = np.argsort((_LONG - lengths).astype(np.uint16), kind="stable")
    starts, lengths = starts[order], lengths[order]
    # A word begins at any byte, also at the last ones.
    padded = np.frombuffer(bytes(data) + bytes(_WORD), np.uint8)
    words: _Hashes = np.ndarray(len(data) + 1, "<u8", padded, strides=(1,))
    hashes: _Hashes = lengths.astype(np.uint64) * _STEP
    for begin in range(0, int(lengths.max(initial=0)), _WORD):
        count, whole = np.searchsorted(-lengths, (-begin, -begin - _WORD + 1))
        word = words[starts[:count] + begin]
        unused = np.uint64(8) * (begin + _WORD - lengths[whole:count]).astype(np.uint64)
        word[whole:] &= ~np.uint64(0) >> unused
        hashes[:count] = _mixed(hashes[:count] ^ word, _MIX)
    found = np.empty_like(hashes)
    found[order] = np.where(lengths > 0, _mixed(hashes, _LAST) | np.uint64(1), np.uint64(0))
    return found


def _mixed(numbers: _Hashes, factor: np.uint64) -> _Hashes:
    """Low bits in high ones, and back; different numbers stay different."""
    numbers *= factor
    numbers ^= numbers >> np.uint64(29)
    return numbers
