"""NumpyFiles: a .npy file of each column, which np.load(path, mmap_mode="r") opens.

NAME.npy, or where rows differ in length NAME.values.npy with all items end to end and NAME.offsets.npy: row i has items
offsets[i] to offsets[i + 1]. Text is UTF-8 bytes.
"""

from pathlib import Path

import numpy as np

from jobs.storage.records import Output
from launcher.export.writer import Contents
from launcher.results.pieces import Piece


class _NpyFile:
    """A .npy file that grows; how many rows it has is written last, where numpy leaves room for that."""

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...] = ()) -> None:
        self._file = path.open("wb")
        self._dtype = np.dtype(dtype)
        self._shape = shape
        self._rows = 0
        self._write_header()

    def _write_header(self) -> None:
        shape = (self._rows, *self._shape)
        facts = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, facts)

    def add(self, rows: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(rows, self._dtype).reshape(-1).view(np.uint8).data)
        self._rows += len(rows)

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()


class _RaggedFiles:
    """The two files of a column whose rows differ in length."""

    def __init__(self, folder: Path, name: str, dtype: str, shape: tuple[int, ...] = ()) -> None:
        self._values = _NpyFile(folder / f"{name}.values.npy", dtype, shape)
        self._offsets = _NpyFile(folder / f"{name}.offsets.npy", "<i8")
        self._offsets.add(np.zeros(1, np.int64))
        self._end = 0

    def add(self, items: np.ndarray, lengths: np.ndarray) -> None:
        self._values.add(items)
        self._offsets.add(self._end + np.cumsum(lengths, dtype=np.int64))
        self._end += int(lengths.sum())

    def close(self) -> None:
        self._values.close()
        self._offsets.close()


class NumpyWriter:
    """All rows in one file a column: memory maps need no smaller ones."""

    def __init__(self, folder: Path, contents: Contents) -> None:
        self._status = _NpyFile(folder / "status.npy", "|u1")
        self._ids = _RaggedFiles(folder, "id", "|u1") if contents.ids_are_text else _NpyFile(folder / "id.npy", "<i8")
        self._columns = {output.name: _column(folder, output) for output in contents.outputs}

    def add(self, piece: Piece) -> None:
        self._status.add(piece.status)
        self._add_ids(piece.ids)
        for name, column in piece.columns.items():
            file = self._columns[name]
            if isinstance(file, _NpyFile):
                file.add(column.data)
            elif column.lengths is not None:
                file.add(column.data, column.lengths)

    def _add_ids(self, ids: np.ndarray) -> None:
        if isinstance(self._ids, _NpyFile):
            self._ids.add(ids)
            return
        text = [one.encode() for one in ids]
        self._ids.add(np.frombuffer(b"".join(text), np.uint8), np.array([len(one) for one in text], np.int64))

    def close(self) -> None:
        for file in (self._status, self._ids, *self._columns.values()):
            file.close()


def _column(folder: Path, output: Output) -> _NpyFile | _RaggedFiles:
    if output.ragged:
        return _RaggedFiles(folder, output.name, output.dtype, output.shape)
    return _NpyFile(folder / f"{output.name}.npy", output.dtype, output.shape)
