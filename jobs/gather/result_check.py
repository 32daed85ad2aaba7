"""ResultCheck: a finished result compared with the journals and the manifest."""

from dataclasses import replace

import numpy as np

from jobs.gather.committed import CopyRange, ShardRows
from jobs.gather.result_file import MISSING, Contents, ResultFile, put_fill
from jobs.gather.result_rows import StateWriter
from jobs.storage.records import Commit, Output
from jobs.storage.shard_file import digest


class ResultCheck:
    """Compares shard after shard, in manifest order; ``problems`` says in words what differs, with its rows."""

    def __init__(self, result: ResultFile, contents: Contents) -> None:
        self.problems: list[str] = []
        self._result = result
        self._outputs = contents.outputs
        self._complete = bool(result.attributes.get("complete"))
        self._states = StateWriter(self.compare)
        self._check_datasets(contents)

    def _check_datasets(self, contents: Contents) -> None:
        """Whether all datasets are there; of a complete result also their shapes, which follow from the journals."""
        for name, (dtype, shape) in contents.datasets().items():
            place = self._result.places.get(name)
            if place is None:
                self.problems.append(f"{name}: there is no such dataset")
            elif place.dtype != np.dtype(dtype) or (self._complete and place.shape != shape):
                self.problems.append(f"{name}: is {place.dtype} {list(place.shape)}, not {dtype} {list(shape)}")
        if not self.problems:
            for name in contents.datasets():
                group, _, last = name.rpartition("/")
                if last == "offsets":
                    rows, end = self._result.places[name].shape[0], self._result.places[f"{group}/values"].shape[0]
                    self.compare(name, 0, np.zeros(1, np.int64))
                    self.compare(name, rows - 1, np.array([end], np.int64))

    def compare(self, name: str, first: int, rows: np.ndarray) -> None:
        """The counterpart of ResultFile.put."""
        expected = rows.reshape(-1).view(np.uint8)
        if not np.array_equal(self._result.read_bytes(name, first, first + len(rows)), expected):
            self._add(name, first, first + len(rows))

    def _add(self, name: str, start: int, stop: int) -> None:
        self.problems.append(f"{name}: rows {start}-{stop - 1}")

    def add(self, shard: ShardRows) -> None:
        """Compares the rows of the next shard."""
        if not self._complete:
            # An incomplete result lacks commits that came later, or were damaged then.
            first, status = shard.shard.start, self._result.read("status", shard.shard.start, shard.shard.stop)
            kept = (c for c in shard.commits if (status[c.start - first : c.stop - first] != MISSING).any())
            shard = replace(shard, commits=tuple(kept))
        self._states.add(shard)
        for commit in shard.commits:
            if not commit.hashes:
                self._check_fill(CopyRange(commit.start, commit.stop))
                continue
            for output in shard.layout.outputs:
                if not self._is_intact(output, commit):
                    self._add(output.name, commit.start, commit.stop)
        for gap in shard.gaps():
            self._check_fill(gap)

    def _is_intact(self, output: Output, commit: Commit) -> bool:
        name = output.name
        if not output.ragged:
            return digest(self._result.read_bytes(name, commit.start, commit.stop)) == commit.hashes[name]
        offsets = self._result.read(f"{name}/offsets", commit.start, commit.stop + 1)
        if digest(np.diff(offsets).data) != commit.hashes[name]:
            return False
        start, stop = int(offsets[0]), int(offsets[-1])
        if not 0 <= start <= stop <= self._result.places[f"{name}/values"].shape[0]:
            return False
        return digest(self._result.read_bytes(f"{name}/values", start, stop)) == commit.segments[name].hash

    def _check_fill(self, span: CopyRange) -> None:
        for output in self._outputs:
            if output.ragged:
                offsets = self._result.read(f"{output.name}/offsets", span.start, span.stop + 1)
                if (offsets != offsets[0]).any():
                    self._add(output.name, span.start, span.stop)
            else:
                put_fill(self.compare, output, span.start, span.stop)
