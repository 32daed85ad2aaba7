"""NumpyFiles: .npy files, NAME.npy or NAME.values.npy and NAME.offsets.npy, for np.load(path, mmap_mode="r")."""

from pathlib import Path

import numpy as np

from launcher.export.columns import FolderOfColumns
from launcher.export.writer import Contents


class _NpyFile:
    """A .npy file that grows; how many rows it has is written last, where numpy leaves room for that."""

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...]) -> None:
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


class NumpyWriter(FolderOfColumns):
    """All rows are in one file a column: memory maps need no smaller ones."""

    def __init__(self, folder: Path, contents: Contents) -> None:
        self._folder = folder
        super().__init__(contents)

    def column(self, name: str, dtype: str, shape: tuple[int, ...] = ()) -> _NpyFile:
        return _NpyFile(self._folder / f"{name.replace('/', '.')}.npy", dtype, shape)
