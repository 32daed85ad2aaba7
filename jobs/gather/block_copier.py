"""BlockCopier: rows of shards into the result, block by block: read, check against the journal, write."""

import itertools
from collections.abc import Sequence

import numpy as np

from jobs.gather.committed import CopyRange, Damage
from jobs.gather.result_file import ResultFile, put_fill
from jobs.storage.records import Output, Segment, Shard
from jobs.storage.shard_file import ShardFile, digest


class BlockCopier:
    """Copies spans in manifest order, through one buffer; it knows where the next ragged values go."""

    def __init__(self, result: ResultFile, outputs: Sequence[Output]) -> None:
        self._result = result
        self._outputs = outputs
        self._items = {output.name: 0 for output in outputs if output.ragged}
        self._buffer = memoryview(bytearray())

    def copy(self, shard: Shard, file: ShardFile | None, span: CopyRange) -> list[Damage]:
        """Copies or fills the rows; returns the batches that are not as committed (what was written is then void)."""
        if not span.commits:
            self._fill(span)
            return []
        if file is None:
            return [Damage(shard.index, commit.start, commit.stop, ("shard file",)) for commit in span.commits]
        damaged: dict[int, list[str]] = {}
        for output in file.layout.outputs:
            copy = self._copy_ragged if output.ragged else self._copy_fixed
            for at in copy(file, output, span):
                damaged.setdefault(at, []).append(output.name)
        stops = {commit.start: commit.stop for commit in span.commits}
        return [Damage(shard.index, start, stops[start], tuple(names)) for start, names in damaged.items()]

    def _fill(self, span: CopyRange) -> None:
        for output in self._outputs:
            if output.ragged:
                ends = np.full(span.stop - span.start, self._items[output.name])
                self._result.put(f"{output.name}/offsets", span.start + 1, ends)
            elif np.dtype(output.dtype).kind in "fc":  # zeros are there already: nothing was written here before
                put_fill(self._result.put, output, span.start, span.stop)

    def _copy_fixed(self, file: ShardFile, output: Output, span: CopyRange) -> list[int]:
        rows = file.read_rows(output, span.start, span.stop, self._room((span.stop - span.start) * output.row_bytes))
        self._result.put_bytes(output.name, span.start, rows)
        return _damaged_rows(output, span, rows)

    def _copy_ragged(self, file: ShardFile, output: Output, span: CopyRange) -> list[int]:
        rows = file.read_rows(output, span.start, span.stop, self._room((span.stop - span.start) * output.row_bytes))
        damaged = _damaged_rows(output, span, rows)
        # A copy, since the values are read into the same buffer; it begins with 0.
        offsets = np.cumsum(np.append(0, np.frombuffer(rows[: len(rows) // 8 * 8], np.int64)))
        first = self._items[output.name]
        self._result.put(f"{output.name}/offsets", span.start + 1, first + offsets[1:])
        segments = [commit.segments[output.name] for commit in span.commits]
        self._items[output.name] += sum(segment.size for segment in segments) // output.item_bytes
        blocks = self._read_values(file, output.name, segments)
        self._result.put_bytes(f"{output.name}/values", first, self._buffer[: sum(map(len, blocks))])
        for commit, segment, block in zip(span.commits, segments, blocks, strict=True):
            if digest(block) != segment.hash:
                damaged.append(commit.start)
        return sorted(set(damaged))

    def _read_values(self, file: ShardFile, name: str, segments: Sequence[Segment]) -> list[memoryview]:
        """The segments' bytes, end to end in the buffer; one read where they are neighbours in the file too."""
        ends = list(itertools.accumulate(segment.size for segment in segments))
        buffer = self._room(ends[-1])
        starts = [0, *ends[:-1]]
        if all(left.offset + left.size == right.offset for left, right in itertools.pairwise(segments)):
            data = file.read_segment(name, Segment(segments[0].offset, ends[-1], ""), buffer)
            return [data[start:end] for start, end in zip(starts, ends, strict=True)]
        return [file.read_segment(name, s, buffer[start:]) for s, start in zip(segments, starts, strict=True)]

    def _room(self, size: int) -> memoryview:
        if len(self._buffer) < size:
            self._buffer = memoryview(bytearray(size))
        return self._buffer[:size]


def _damaged_rows(output: Output, span: CopyRange, rows: memoryview) -> list[int]:
    """First rows of the batches whose rows have another hash than the journal says."""
    size = output.row_bytes
    damaged = []
    for commit in span.commits:
        block = rows[(commit.start - span.start) * size : (commit.stop - span.start) * size]
        if digest(block) != commit.hashes[output.name]:
            damaged.append(commit.start)
    return damaged
