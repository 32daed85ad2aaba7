"""BlockCache: the blocks of arrays that were read last, since neighbouring rows are asked for one after another."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np


class BlockCache:
    """At most so many bytes of blocks, and the last one whatever its size. Any thread may ask."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._blocks: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], np.ndarray]) -> np.ndarray:
        """The block of the key, which ``read`` reads where it is not here."""
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        block = read()
        with self._lock:
            self._bytes += block.nbytes - self._drop(key)
            self._blocks[key] = block
            while self._bytes > self._most_bytes and len(self._blocks) > 1:
                self._bytes -= self._drop(next(iter(self._blocks)))
        return block

    def _drop(self, key: Hashable) -> int:
        block: Any = self._blocks.pop(key, None)
        return 0 if block is None else block.nbytes

    def clear(self) -> None:
        """Forgets all; a lock that another thread held when this process was forked, too."""
        self.__init__(self._most_bytes)  # type: ignore[misc]
