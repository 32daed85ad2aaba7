"""SampleIds: what messages call single samples, also where the manifest cannot be read."""

from functools import cached_property
from pathlib import Path

from jobs.errors import RunError
from jobs.storage.samples import Samples


class SampleIds:
    """The ids of single samples, for messages: the row instead where the manifest cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _samples(self) -> Samples:
        return Samples(self._path)

    def __call__(self, row: int) -> str:
        try:
            return next(self._samples.rows(row, row + 1)).id
        except (RunError, OSError, ValueError, LookupError):
            return f"row {row}"

    def name(self, row: int) -> str:
        """As ``Samples.name``."""
        try:
            return self._samples.name(row)
        except (RunError, OSError, ValueError, LookupError):
            return str(row)
