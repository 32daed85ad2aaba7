"""ZarrStore: a Zarr v3 group with an array of each column; NAME/values and NAME/offsets where rows differ in length."""

from pathlib import Path
from typing import Any

import numpy as np

from launcher.export.columns import FolderOfColumns
from launcher.export.writer import Contents

_CHUNK_BYTES = 8 << 20


class _ZarrColumn:
    """An array that grows by whole rows."""

    def __init__(self, group: Any, name: str, dtype: str, shape: tuple[int, ...], compressors: Any) -> None:
        row_bytes = max(np.dtype(dtype).itemsize * int(np.prod(shape)), 1)
        chunks = (max(_CHUNK_BYTES // row_bytes, 1), *(max(size, 1) for size in shape))
        self._array = group.create_array(
            name, shape=(0, *shape), dtype=np.dtype(dtype), chunks=chunks, compressors=compressors
        )

    def add(self, rows: np.ndarray) -> None:
        self._array.append(rows)

    def close(self) -> None:
        """Nothing is left to be written."""


class ZarrWriter(FolderOfColumns):
    """The facts of the export are the group's attributes."""

    def __init__(self, folder: Path, contents: Contents) -> None:
        import zarr
        from zarr.codecs import GzipCodec, ZstdCodec

        made = {"zstd": ZstdCodec, "gzip": GzipCodec}
        wanted = contents.compression
        self._compressors: Any = "auto" if wanted is None else None if wanted == "none" else made[wanted]()
        self._group = zarr.create_group(folder, zarr_format=3, attributes={"launcher": dict(contents.facts)})
        super().__init__(contents)

    def column(self, name: str, dtype: str, shape: tuple[int, ...] = ()) -> _ZarrColumn:
        return _ZarrColumn(self._group, name, dtype, shape, self._compressors)
