"""BlockCopier: windows of batches into the result: read, checked against the journals, written."""

from collections.abc import Sequence

import numpy as np

from jobs.gather.committed import Unlike
from jobs.gather.result_file import ResultFile, put_fill
from jobs.gather.window_reader import WindowReader, unlike
from jobs.gather.windows import Window
from jobs.storage.files import WriteBehind
from jobs.storage.records import Output


class BlockCopier:
    """Copies windows in row order; it knows where the next ragged values go."""

    def __init__(self, result: ResultFile, outputs: Sequence[Output], reader: WindowReader) -> None:
        self._result = result
        self._outputs = outputs
        self._reader = reader
        self._behind = WriteBehind(result.descriptor)
        self._items = {output.name: 0 for output in outputs if output.ragged}

    def copy(self, window: Window) -> list[Unlike]:
        """Copies or fills the rows; returns the batches that are not as committed, and writes nothing where there are some."""
        if not window.has_values:
            self._fill(window)
            return []
        found = self._reader.read(window.batches)
        wrong = unlike(window.batches, found)
        for output in self._outputs if not wrong else ():
            slots = [stored.source.slots[output.name] for stored in window.batches]
            pairs = list(zip(found, slots, strict=True))
            rows = [blocks[slot] for blocks, slot in pairs]
            if output.ragged:
                self._copy_ragged(output, window.start, rows, [blocks[slot + 1] for blocks, slot in pairs])
            else:
                self._result.put_pieces(output.name, window.start, rows)
        self._behind.add(sum(block.size for stored in window.batches for block in stored.commit.blocks))
        return wrong

    def _copy_ragged(
        self, output: Output, start: int, lengths: Sequence[memoryview], values: Sequence[memoryview]
    ) -> None:
        first = self._items[output.name]
        offsets = first + np.cumsum(np.frombuffer(b"".join(lengths), np.int64))
        self._result.put(f"{output.name}/offsets", start + 1, offsets)
        self._result.put_pieces(f"{output.name}/values", first, values)
        self._items[output.name] += sum(map(len, values)) // output.item_bytes

    def _fill(self, window: Window) -> None:
        for output in self._outputs:
            if output.ragged:
                ends = np.full(window.stop - window.start, self._items[output.name])
                self._result.put(f"{output.name}/offsets", window.start + 1, ends)
            elif np.dtype(output.dtype).kind in "fc":  # zeros are there already: nothing was written here before
                put_fill(self._result.put, output, window.start, window.stop)
