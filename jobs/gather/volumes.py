"""Volumes: a result cut into files of rows that follow each other, each of whole batches and none larger than is wanted.

They are found while the batches of the result are counted, in row order; that is the only pass over the journals that it takes.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from jobs.gather.committed import Stored
from jobs.gather.hdf5_file import ALIGNMENT
from jobs.gather.result_file import Contents
from jobs.gather.result_rows import IdBytes, text
from jobs.gather.survey import Survey, Surveyed
from jobs.storage.layouts import read_layout
from jobs.storage.plans import Plan
from jobs.storage.records import Output, Part
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans

# What a file takes beside its rows, at most: its attributes, and of each dataset the way to its page and its description.
_HEAD = 1 << 15
_EACH = 2 * ALIGNMENT
# Of each row its status, and the id or where that ends; of a row of /errors, beside its texts, row, attempts, where both end.
_STATE_BYTES = 9
_ERROR_BYTES = 28
_STATE_DATASETS = 9


@dataclass(frozen=True)
class Volume:
    """Rows ``[start, stop)`` of a result, and what the file of these holds, some ``size`` bytes."""

    start: int
    stop: int
    contents: Contents
    size: int = 0

    def part(self, of: Part) -> Part:
        """The rows of the manifest that it has."""
        return Part(of.name, of.start + self.start, of.start + self.stop)


@dataclass
class _Tally:
    """What rows ``[start, stop)`` take. ``size`` is all of it, in bytes; ``values`` those of each ragged output."""

    start: int
    stop: int
    size: int = 0
    values: dict[str, int] = field(default_factory=dict)
    errors: int = 0
    kind_bytes: int = 0
    message_bytes: int = 0
    id_bytes: int = 0

    def add(self, other: "_Tally") -> None:
        self.stop = other.stop
        for name in ("size", "errors", "kind_bytes", "message_bytes", "id_bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, size in other.values.items():
            self.values[name] = self.values.get(name, 0) + size


class VolumeCutter:
    """Sees the batches of a part in row order, and says where its volumes begin and end."""

    def __init__(
        self, run: RunDir, plan: Plan, part: Part, *, most: int | None = None, starts: Collection[int] = ()
    ) -> None:
        """A volume ends before the batch with which it would have more than ``most`` bytes, and at each of ``starts``."""
        layout = read_layout(run)
        self._assume(layout.outputs if layout else ())
        self._table = plan.table
        self._part = part
        column = plan.id_column
        self._ids = None if column is None else IdBytes(plan.manifest_file(run), column, part)
        self._most = most
        self._starts = frozenset(starts)
        self._tallies: list[_Tally] = []
        self._at = 0

    def add(self, stored: Stored) -> None:
        self._pass_over(stored.commit.start)
        if not self._outputs:
            self._assume(stored.source.outputs)
        commit, tally = stored.commit, self._counted(stored.commit.stop)
        for sample in commit.failed:
            tally.errors += 1
            tally.kind_bytes += len(text(sample.kind))
            tally.message_bytes += len(text(sample.message))
        tally.size += _ERROR_BYTES * tally.errors + tally.kind_bytes + tally.message_bytes
        for output in stored.source.outputs if commit.blocks else ():
            if output.ragged:
                size = commit.blocks[stored.source.slots[output.name] + 1].size
                tally.values[output.name] = size
                tally.size += size
        self._put(tally)

    def volumes(self, outputs: tuple[Output, ...]) -> tuple[Volume, ...]:
        """All of them, once all batches are added; ``outputs`` are those of the result."""
        self._pass_over(self._part.rows)
        return tuple(self._volume(tally, outputs) for tally in self._tallies or [_Tally(0, 0)])

    def _pass_over(self, row: int) -> None:
        """Rows up to this one have no batch."""
        if self._at < row:
            first = self._part.start
            for _, stop in self._table.batches(Spans([(first + self._at, first + row)])):
                self._put(self._counted(stop - first))

    def _counted(self, stop: int) -> _Tally:
        """Rows from here on, with what each row takes whatever it holds."""
        rows = stop - self._at
        ids = 0 if self._ids is None else self._ids.up_to(stop)
        size = rows * self._row_bytes + ids
        return _Tally(self._at, stop, size, id_bytes=ids)

    def _put(self, tally: _Tally) -> None:
        if not self._tallies or tally.start in self._starts or self._is_over(tally):
            self._tallies.append(tally)
        else:
            self._tallies[-1].add(tally)
        self._at = tally.stop

    def _is_over(self, tally: _Tally) -> bool:
        return self._most is not None and self._tallies[-1].size + tally.size > self._most - self._overhead

    def _assume(self, outputs: tuple[Output, ...]) -> None:
        self._outputs = outputs
        self._row_bytes = _STATE_BYTES + sum(output.row_bytes for output in outputs)
        self._overhead = _HEAD + _EACH * (_STATE_DATASETS + sum(1 + output.ragged for output in outputs))

    def _volume(self, tally: _Tally, outputs: tuple[Output, ...]) -> Volume:
        items = {one.name: tally.values.get(one.name, 0) // one.item_bytes for one in outputs if one.ragged}
        ids = None if self._ids is None else tally.id_bytes
        counts = (tally.errors, tally.kind_bytes, tally.message_bytes, ids)
        contents = Contents(tally.stop - tally.start, outputs, items, *counts)
        return Volume(tally.start, tally.stop, contents, tally.size + self._overhead)


def cut(survey: Survey, cutter: VolumeCutter | None) -> tuple[Volume, ...]:
    """The files of a result that was surveyed; without a cutter it is one."""
    return cutter.volumes(survey.outputs) if cutter else (Volume(0, survey.rows, survey.contents),)


def cut_at(run: RunDir, plan: Plan, one: Surveyed, starts: Collection[int]) -> tuple[Volume, ...]:
    """The files of a result that is there, which begin at these rows."""
    cutter = VolumeCutter(run, plan, one.part, starts=starts)
    for stored in one.committed.batches():
        cutter.add(stored)
    return cutter.volumes(one.survey.outputs)
