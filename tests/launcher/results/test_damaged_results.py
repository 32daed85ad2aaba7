"""A result that HDF5 reads and that lacks something is told as damaged."""

from pathlib import Path

import h5py
import pytest

from jobs.errors import DamageError
from launcher import results


@pytest.mark.parametrize("held", ["offsets", "neither"])
def test_an_output_without_its_values_is_damaged(tmp_path: Path, held: str) -> None:
    with h5py.File(tmp_path / "r.h5", "w") as file:
        file.attrs["complete"] = True
        file["status"] = [1]
        file[f"text/{held}"] = [0, 1]
    with results.open(tmp_path / "r.h5") as found, pytest.raises(DamageError, match="its outputs are damaged"):
        assert found.outputs
