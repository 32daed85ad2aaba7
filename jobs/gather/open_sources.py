"""OpenSources: the data files of attempts; of the many of a run, those that were read lately stay open."""

import resource
from collections import OrderedDict

from jobs.gather.sources import Source
from jobs.storage.blocks import BlockReader

# Of the files that a process may have open, one in so many; and the least.
_SHARE = 4
_LEAST = 32


class OpenSources:
    """Opens the files of an attempt when they are asked for, and closes those of whom nobody asked for longest."""

    def __init__(self) -> None:
        self._readers: OrderedDict[int, tuple[BlockReader, int]] = OrderedDict()
        self._room = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE, _LEAST)

    def reader(self, source: Source) -> BlockReader:
        if source.rank not in self._readers:
            files = len(source.head.files)
            while self._readers and files > self._room:
                closed, freed = self._readers.popitem(last=False)[1]
                closed.close()
                self._room += freed
            self._room -= files
            self._readers[source.rank] = BlockReader(source.head.files), files
        self._readers.move_to_end(source.rank)
        return self._readers[source.rank][0]

    def close(self) -> None:
        for reader, files in self._readers.values():
            reader.close()
            self._room += files
        self._readers.clear()
