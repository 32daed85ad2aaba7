"""WebDataset: tar files of the samples that are ok, each a few files with the number of its row as their name.

NAME.txt is text, NAME.bin bytes, NAME.npy an array; json has the id and the row. Bytes that are called as a kind of file are
one: ``jpg``, as in the tars that a manifest has.
"""

import io
import json
import tarfile
from pathlib import Path

import numpy as np

from jobs.gather.result_file import OK
from jobs.storage.outputs import Column
from jobs.storage.ragged_rows import row_bounds
from launcher.export.writer import Contents, StepWriter
from launcher.results.portions import Portion

_SUFFIXES = {"utf-8": "txt", "bytes": "bin", None: "npy"}
_KINDS = {"flac", "gif", "jpeg", "jpg", "mp3", "mp4", "ogg", "opus", "pdf", "png", "wav", "webm", "webp"}


class WebDatasetWriter(StepWriter):
    """A file ends before the sample with which it would have too many bytes, or rows."""

    def __init__(self, folder: Path, contents: Contents) -> None:
        self._folder = folder
        self._contents = contents
        self._number = 0
        self._begin()

    def _begin(self) -> None:
        self._file = tarfile.open(self._folder / f"{self._number:06d}.tar", "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115 - closed by `close`
        self._samples = 0
        self._number += 1

    def add(self, portion: Portion) -> None:
        bounds = {
            name: None if column.lengths is None else row_bounds(column.lengths)
            for name, column in portion.columns.items()
        }
        for at in np.flatnonzero(portion.status == OK).tolist():
            row = portion.start + at
            facts = {"id": portion.ids[at].item() if portion.ids.dtype != object else portion.ids[at], "row": row}
            files = {"json": json.dumps(facts).encode()}
            for name, column in portion.columns.items():
                is_file = column.encoding == "bytes" and name in _KINDS
                files[name if is_file else f"{name}.{_SUFFIXES[column.encoding]}"] = _content(column, bounds[name], at)
            self._add_sample(row, files)

    def _add_sample(self, row: int, files: dict[str, bytes]) -> None:
        size = sum(map(len, files.values()))
        if self._samples and self._contents.is_full(self._samples, self._file.offset + size):
            self._file.close()
            self._begin()
        for suffix, data in files.items():
            member = tarfile.TarInfo(f"{row:012d}.{suffix}")
            member.size = len(data)
            self._file.addfile(member, io.BytesIO(data))
        self._file.members = []  # type: ignore[attr-defined] # it would remember all of them, to the end
        self._samples += 1

    def close(self) -> None:
        self._file.close()


def _content(column: Column, bounds: np.ndarray | None, at: int) -> bytes:
    value = column.data[at] if bounds is None else column.data[bounds[at] : bounds[at + 1]]
    if column.encoding:
        return bytes(value.tobytes())
    file = io.BytesIO()
    np.save(file, value)
    return file.getvalue()
