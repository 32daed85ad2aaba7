"""ResultCheck: a finished result, or one of its files, compared with the journals and the manifest."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.errors import DamageError
from jobs.gather.committed import Stored
from jobs.gather.result_file import FAILED, MISSING, OK, Contents, Put, ResultFile, put_fill
from jobs.gather.result_rows import StateWriter, put_ids
from jobs.gather.section import Section
from jobs.gather.volumes import Volume
from jobs.gather.windows import Window, windows
from jobs.storage.blocks import digest
from jobs.storage.records import Commit, Output, Part


class ResultCheck:
    """Compares window after window, in manifest order; ``problems`` says in words what differs, with its rows.

    Where several attempts have stored a batch, it has to be as any of them did: which one gather took depends on what was
    there, and intact, at that time.
    """

    def __init__(self, result: ResultFile, contents: Contents, committed: Section) -> None:
        self.problems: list[str] = []
        self._result = result
        self._contents = contents
        self._committed = committed
        self._complete = bool(result.attributes.get("complete"))
        self._states = StateWriter(self.compare)
        self._check_datasets()

    def _check_datasets(self) -> None:
        """Whether all datasets are there; of a complete result also their shapes, which follow from the journals."""
        datasets = self._contents.datasets()
        for name, (dtype, shape) in datasets.items():
            place = self._result.places.get(name)
            if place is None:
                self.problems.append(f"{name}: there is no such dataset")
            elif place.dtype != np.dtype(dtype) or (self._has_fixed_shape(name) and place.shape != shape):
                self.problems.append(f"{name}: is {place.dtype} {list(place.shape)}, not {dtype} {list(shape)}")
        if not self.problems:
            for name in datasets:
                group, _, last = name.rpartition("/")
                if last == "offsets":
                    rows, end = self._result.places[name].shape[0], self._result.places[f"{group}/values"].shape[0]
                    self.compare(name, 0, np.zeros(1, np.int64))
                    self.compare(name, rows - 1, np.array([end], np.int64))

    def _has_fixed_shape(self, name: str) -> bool:
        depends = name.startswith("errors/") or name in {f"{o.name}/values" for o in self._contents.outputs if o.ragged}
        return self._complete and not (depends and self._committed.has_choice)

    def compare(self, name: str, first: int, rows: np.ndarray) -> None:
        """The counterpart of ResultFile.put."""
        expected = rows.reshape(-1).view(np.uint8)
        if not np.array_equal(self._result.read_bytes(name, first, first + len(rows)), expected):
            self._add(name, first, first + len(rows))

    def _add(self, name: str, start: int, stop: int) -> None:
        self.problems.append(f"{name}: rows {start}-{stop - 1}")

    def rows(self, advance: Callable[[int], None]) -> None:
        """Compares all rows; ``advance`` is called with the end of those that have been."""
        for window in windows(self._batches(), self._contents.rows):
            self._states.add(window)
            if not window.has_values:
                self._check_fill(window)
            advance(window.stop)
        errors = self._result.places["errors/row"].shape[0]
        if errors != self._states.errors:
            self.problems.append(f"errors/row: has {errors} rows, not {self._states.errors}")

    def _batches(self) -> Iterator[Stored]:
        """The batches that the result has, each as the attempt has it whose bytes it holds."""
        for stored in self._committed.batches():
            status = self._result.read("status", stored.commit.start, stored.commit.stop)
            # An incomplete result lacks commits that came later, or were damaged then.
            if self._complete or (status != MISSING).any():
                yield self._source_of(stored, status)

    def _source_of(self, stored: Stored, status: np.ndarray) -> Stored:
        different = self._different(stored)
        if different or not _has_status(stored.commit, status):
            for other in self._committed.others(stored):
                if _has_status(other.commit, status) and not self._different(other):
                    return other
        for name in different:
            self._add(name, stored.commit.start, stored.commit.stop)
        return stored

    def _different(self, stored: Stored) -> list[str]:
        """The outputs of which the result has other bytes than the attempt."""
        if not stored.commit.blocks:
            return []
        return [output.name for output in self._contents.outputs if not self._is_intact(output, stored)]

    def _is_intact(self, output: Output, stored: Stored) -> bool:
        commit, slot, name = stored.commit, stored.source.slots[output.name], output.name
        if not output.ragged:
            return digest(self._result.read_bytes(name, commit.start, commit.stop)) == commit.blocks[slot].hash
        offsets = self._result.read(f"{name}/offsets", commit.start, commit.stop + 1)
        if digest(np.diff(offsets).data) != commit.blocks[slot].hash:
            return False
        start, stop = int(offsets[0]), int(offsets[-1])
        if not 0 <= start <= stop <= self._result.places[f"{name}/values"].shape[0]:
            return False
        return digest(self._result.read_bytes(f"{name}/values", start, stop)) == commit.blocks[slot + 1].hash

    def _check_fill(self, window: Window) -> None:
        for output in self._contents.outputs:
            if output.ragged:
                offsets = self._result.read(f"{output.name}/offsets", window.start, window.stop + 1)
                if (offsets != offsets[0]).any():
                    self._add(output.name, window.start, window.stop)
            else:
                put_fill(self.compare, output, window.start, window.stop)


def _has_status(commit: Commit, status: np.ndarray) -> bool:
    expected = np.full(commit.stop - commit.start, OK, np.uint8)
    expected[[sample.row - commit.start for sample in commit.failed]] = FAILED
    return bool(np.array_equal(status, expected))


@dataclass(frozen=True)
class ResultIds:
    """Where a result has its ids from: the manifest, its column of ids, and the part of it."""

    manifest: Path
    id_column: str | None
    part: Part

    def put_ids(self, put: Put, volume: Volume) -> None:
        put_ids(put, self.manifest, self.id_column, volume.part(self.part), volume.start)


def check_file(
    path: Path, volume: Volume, ids: ResultIds, section: Section, advance: Callable[[int], None]
) -> list[str]:
    """What in a file of a result differs from the journals and the manifest, in words; rows count from its first one."""
    try:
        with ResultFile.opened(path) as result:
            check = ResultCheck(result, volume.contents, section)
            if not check.problems:
                ids.put_ids(check.compare, volume)
                check.rows(lambda stop: advance(volume.start + stop))
            return check.problems
    except DamageError as error:
        return [str(error)]
