"""Jobs that hang."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.example_jobs.toy_jobs import Toy


class HangsOnce(Toy):
    """Stays at the batch with a row, the first time that anybody gets it; ``marker`` is a file that says so."""

    def __init__(self, marker: str, row: int) -> None:
        super().__init__()
        self.marker = Path(marker)
        self.row = row

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        if self.row in batch[:, 0] and self._is_first():
            time.sleep(3600)
        return super().process(batch)

    def _is_first(self) -> bool:
        try:
            self.marker.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True
