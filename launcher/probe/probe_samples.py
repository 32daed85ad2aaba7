"""ProbeSamples: rows of a manifest in a random order, as small manifests of their own.

Neighbouring rows are often alike (sorted by size, by date), so the first ones tell little of all. Each trial gets other
rows, as long as there are some: what an earlier one has read would come from memory. In a small manifest a sample has the
id, index and row that it has in the whole one, so that a Job which names files by them names them right.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.storage.samples import BATCH_ROWS, METADATA_KEY
from launcher.manifest.manifest import read_costs

# More than any trial of a minute's probe gets through, but for samples that are next to nothing.
_MOST_ROWS = 200_000


class ProbeSamples:
    """The rows of a written manifest; ``cost`` is its cost column, if it has one."""

    def __init__(self, path: Path, rows: int, cost: str | None) -> None:
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self._order = random.Random(0).sample(range(rows), min(rows, _MOST_ROWS))
        self._weights = _weights(read_costs(path, cost)) if cost else np.ones(rows)
        self._used = 0

    @property
    def repeated(self) -> bool:
        """Whether some rows were used more than once."""
        return self._used > len(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def next(self, count: int) -> list[int]:
        """The next rows that were not used, ``count`` at most and none twice; after the last one they begin anew."""
        first = self._used % len(self._order)
        return [*self._order, *self._order][first : first + min(count, len(self._order))]

    def use(self, count: int) -> None:
        """That many of the next rows were read."""
        self._used += count

    def weights(self, rows: Sequence[int]) -> npt.NDArray[np.float64]:
        """What each of the rows costs, in costs of a mean row of the whole manifest: float64 [len(rows)]."""
        return self._weights[list(rows)]

    def write(self, rows: Sequence[int], path: Path) -> None:
        """A manifest of these rows, in this order."""
        found = np.sort(np.array(rows))
        pieces = [
            pa.Table.from_batches([self._reader.get_batch(int(number))]).take(
                found[found // BATCH_ROWS == number] % BATCH_ROWS
            )
            for number in np.unique(found // BATCH_ROWS)
        ]
        table = pa.concat_tables(pieces).take(np.searchsorted(found, rows)).combine_chunks()
        metadata = {**json.loads(table.schema.metadata[METADATA_KEY]), "rows": len(rows), "origins": list(rows)}
        table = table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata)})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=BATCH_ROWS)


def _weights(costs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    mean = float(costs.mean())
    # Nothing is free, whatever its cost says.
    return np.maximum(costs / mean, 1e-3) if mean > 0 else np.ones(len(costs))
