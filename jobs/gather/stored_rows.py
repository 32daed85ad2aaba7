"""StoredRows: the rows of a result where the attempts of a run have stored them, read without a gather.

The same batches count as for gather. A block is hashed when something of it is read for the first time.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Self

import numpy as np

from jobs.errors import DamageError
from jobs.gather.batch_index import BatchIndex
from jobs.gather.committed import Stored, Unlike
from jobs.gather.manifest_check import check_manifest
from jobs.gather.open_sources import OpenSources
from jobs.gather.provenance import provenance
from jobs.gather.result_file import FAILED, MISSING, OK
from jobs.gather.result_rows import read_ids
from jobs.gather.shortfall import shortfall
from jobs.gather.survey import Surveyed, survey_results
from jobs.job import has_reduce, make_job
from jobs.plural import counted
from jobs.storage.blocks import block_names, digest
from jobs.storage.outputs import without_values
from jobs.storage.plans import Plan
from jobs.storage.records import Block, FailedSample, Layout, Output, Part
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Range, Spans


class StoredRows:
    """Of one result of a run, as its journals were when it was made. Rows count from the first of the result."""

    def __init__(self, run: RunDir, plan: Plan, surveyed: Surveyed, index: BatchIndex) -> None:
        self._run = run
        self._plan = plan
        self._surveyed = surveyed
        self.survey = surveyed.survey
        self.rows = surveyed.part.rows
        self.outputs = {output.name: output for output in sorted(surveyed.survey.outputs, key=lambda one: one.name)}
        in_order = tuple(self.outputs.values())
        self._index = index
        self._names = block_names(Layout(in_order))
        self._slots = {name: self._names.index(name) for name in self.outputs}
        self._checked = bytearray(len(self._index.sizes))
        self._sources = surveyed.committed.sources
        self._open = OpenSources()

    @classmethod
    def of(cls, run: RunDir, manifest: str | None) -> Self:
        """Raises OutputError where attempts do not fit together."""
        plan, index = Plan.read(run.plan), BatchIndex()

        def visit(part: Part, stored: Stored) -> None:
            if part.name == manifest:
                index.add(stored)

        surveyed = survey_results(run, plan, visit)
        return cls(run, plan, next(one for one in surveyed if one.part.name == manifest), index)

    @classmethod
    def indexed(cls, run: RunDir, plan: Plan, surveyed: Surveyed) -> Self:
        """Of the rows of ``surveyed.committed``, whose outputs are known already: only what tells of them is read."""
        index = BatchIndex()
        for stored in surveyed.committed.batches():
            index.add(stored)
        return cls(run, plan, surveyed, index)

    def has_all(self, rows: Range) -> bool:
        """Whether there is a batch for each of these rows, intact or not."""
        return sum(self._index.stops) - sum(self._index.starts) == rows[1] - rows[0]

    @property
    def complete(self) -> bool:
        return self.survey.whole

    @property
    def shortfall(self) -> list[str]:
        """What keeps it from being complete, in words."""
        found = list(shortfall(self._run, self._plan, [self.survey]))
        if lost := self.survey.lost:  # they count as done, so that is no word of theirs
            shards = Spans.of_numbers({damage.shard for damage in lost})
            found.append(
                f"{counted(len(lost), 'batch is', 'batches are')} not on disk as written, in shards {shards.brief()}: "
                f"`launcher rerun {self._run.argument} --shards {shards.coarse()}` computes them again"
            )
        return found

    @cached_property
    def seal(self) -> str:
        """Says what it is made of; another one, once rows were done again."""
        return self._surveyed.seal(self._plan)

    def provenance(self) -> dict[str, Any]:
        return provenance(self._run, self._plan, self._surveyed.part, self.survey)

    def folds(self) -> bool:
        """Whether the Job folds its results, which only gather does. Raises InputError where it cannot be imported here."""
        return has_reduce(make_job(self._plan.job))

    @cached_property
    def status(self) -> np.ndarray:
        """uint8 [rows]: MISSING, OK or FAILED."""
        found = np.full(self.rows, MISSING, np.uint8)
        starts, stops = (np.array(rows, np.int64) for rows in (self._index.starts, self._index.stops))
        gaps = starts[1:] != stops[:-1]
        begins, ends = np.concatenate([[True], gaps]), np.concatenate([gaps, [True]])
        for start, stop in zip(starts[begins[: len(starts)]], stops[ends[: len(stops)]], strict=True):
            found[start:stop] = OK
        found[self._index.failed] = FAILED
        return found

    def ids(self, start: int, stop: int) -> np.ndarray:
        """As a result has them: int64, or objects (str). Raises DamageError where the manifest is not what was planned."""
        return read_ids(self._manifest, self._plan.id_column, self._surveyed.part, start, stop)

    @cached_property
    def _manifest(self) -> Any:
        check_manifest(self._run, self._plan, whole=False)
        return self._plan.manifest_file(self._run)

    def failed(self) -> Iterator[FailedSample]:
        """In the order of rows; reads the journals again, as far as they were too long to be kept."""
        for stored in self._surveyed.committed.batches():
            yield from sorted(stored.commit.failed, key=lambda sample: sample.row)

    def fixed(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows ``[start, stop)`` of a fixed output. Raises DamageError where they are not as they were committed."""
        output, dtype = self.outputs[name], np.dtype(self.outputs[name].dtype)
        pieces = [
            (first, last, self._fixed(batch, output, first, last)) for batch, first, last in self._at(start, stop)
        ]
        if len(pieces) == 1 and pieces[0][:2] == (start, stop):
            return pieces[0][2]
        found = without_values((stop - start, *output.shape), dtype)
        for first, last, rows in pieces:
            found[first - start : last - start] = rows
        return found

    def items(self, name: str, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows ``[start, stop)`` of a ragged output: their items end to end, and their lengths. Raises as ``fixed`` does."""
        output, slot = self.outputs[name], self._slots[name]
        lengths, pieces = np.zeros(stop - start, np.int64), []
        for batch, first, last in self._at(start, stop):
            of_batch, begin = self._lengths(batch, slot), first - self._index.starts[batch]
            own = lengths[first - start : last - start] = of_batch[begin : begin + last - first]
            skipped, count = int(of_batch[:begin].sum()), int(own.sum())
            size = output.item_bytes
            pieces.append(self._bytes(batch, slot + 1, skipped * size, (skipped + count) * size))
        data = pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))
        return _array(data, output, int(lengths.sum())), lengths

    def lengths(self, name: str, start: int, stop: int) -> np.ndarray:
        """Those of rows ``[start, stop)`` of a ragged output: int64."""
        found = np.zeros(stop - start, np.int64)
        for batch, first, last in self._at(start, stop):
            begin = first - self._index.starts[batch]
            found[first - start : last - start] = self._lengths(batch, self._slots[name])[begin : begin + last - first]
        return found

    def _at(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """The batches that have values of these rows, each with the first of them, and that after the last."""
        starts, stops = self._index.starts, self._index.stops
        return ((batch, max(start, starts[batch]), min(stop, stops[batch])) for batch in self._index.at(start, stop))

    def _fixed(self, batch: int, output: Output, first: int, last: int) -> np.ndarray:
        begin, size = first - self._index.starts[batch], output.item_bytes
        data = self._bytes(batch, self._slots[output.name], begin * size, (begin + last - first) * size)
        return _array(data, output, last - first)

    def _lengths(self, batch: int, slot: int) -> np.ndarray:
        return np.frombuffer(self._bytes(batch, slot, 0, self._index.sizes[self._index.first[batch] + slot]), np.int64)

    def _bytes(self, batch: int, slot: int, begin: int, end: int) -> memoryview:
        """Some of the bytes of a block, all of which were hashed once."""
        if not self._checked[self._index.first[batch] + slot]:
            return self._check(batch, slot)[begin:end]
        data = self._read(batch, slot, begin, end)
        return data if len(data) == end - begin else self._check(batch, slot)[begin:end]

    def _read(self, batch: int, slot: int, begin: int, end: int) -> memoryview:
        index, at = self._index, self._index.first[batch] + slot
        block = Block(index.files[at], index.offsets[at] + begin, end - begin, "")
        return self._open.reader(self._sources[index.ranks[batch]]).read(block)

    def _check(self, batch: int, slot: int) -> memoryview:
        """All bytes of a block; of another attempt's, where it has the same ones, if these are damaged."""
        at = self._index.first[batch] + slot
        data, expected = self._read(batch, slot, 0, self._index.sizes[at]), f"{self._index.hashes[at]:016x}"
        if digest(data) == expected:
            self._checked[at] = True
            return data
        return self._copy(batch, slot, expected)

    def _copy(self, batch: int, slot: int, expected: str) -> memoryview:
        committed, first = self._surveyed.committed, self._surveyed.part.start
        start, stop = self._index.starts[batch] + first, self._index.stops[batch] + first
        name = self._names[slot]
        mine = None
        for stored in committed.candidates(start, stop):
            if stored.source.rank == self._index.ranks[batch]:
                mine = stored
            if stored.commit.blocks:
                block = stored.commit.blocks[stored.source.slots[name] + slot - self._slots[name]]
                data = self._open.reader(stored.source).read(block)
                if block.hash == expected == digest(data):
                    return data
        assert mine is not None
        damage = committed.damage(Unlike(mine, (name,)))
        run = self._run
        raise DamageError(
            f"{run.path}: {damage}: not on disk as it was written; `launcher gather {run.argument}` takes what another attempt "
            f"has, if one has it, and `launcher rerun {run.argument} --shards {damage.shard}` computes it again"
        )

    def close(self) -> None:
        self._open.close()


def _array(data: memoryview, output: Output, rows: int) -> np.ndarray:
    return np.frombuffer(data, np.dtype(output.dtype)).reshape(rows, *output.shape)
