"""BlockCache: the blocks of arrays that were read last, since neighbouring rows are asked for one after another."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


class BlockCache:
    """At most so many bytes of blocks, and the last one whatever its size. Any thread may ask."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._blocks: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], np.ndarray]) -> np.ndarray:
        """The block of the key, which ``read`` reads where it is not here."""
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        block = read()
        size = _size(block)
        with self._lock:
            self._drop(key)
            self._bytes += size
            self._blocks[key], self._sizes[key] = block, size
            while self._bytes > self._most_bytes and len(self._blocks) > 1:
                self._drop(next(iter(self._blocks)))
        return block

    def _drop(self, key: Hashable) -> None:
        self._blocks.pop(key, None)
        self._bytes -= self._sizes.pop(key, 0)

    def clear(self) -> None:
        """Forgets all; a lock that another thread held when this process was forked, too."""
        self.__init__(self._most_bytes)  # type: ignore[misc]


def _size(block: np.ndarray) -> int:
    """In bytes; an array of texts, or of arrays, is by itself but the places of these."""
    if block.dtype.kind not in "OT":
        return block.nbytes
    return block.nbytes + sum(getattr(one, "nbytes", 0) or len(one) for one in block.flat if hasattr(one, "__len__"))
