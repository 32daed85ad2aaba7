"""OpenSources: the data files of attempts; of the many of a run, those that were read lately stay open."""

from collections import OrderedDict

from jobs.gather.sources import Source
from jobs.storage.blocks import BlockReader

# Attempts whose data files are open at a time.
_MOST = 32


class OpenSources:
    """Opens the files of an attempt when they are asked for, and closes those of whom nobody asked for longest."""

    def __init__(self) -> None:
        self._readers: OrderedDict[int, BlockReader] = OrderedDict()

    def reader(self, source: Source) -> BlockReader:
        reader = self._readers.get(source.rank)
        if reader is None:
            reader = BlockReader(source.head.files)
            if len(self._readers) >= _MOST:
                self._readers.popitem(last=False)[1].close()
            self._readers[source.rank] = reader
        self._readers.move_to_end(source.rank)
        return reader

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
