"""A store on this machine, to which results go, and an executor whose runs are done at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.instant_executor import instant_executor
from tests.support.object_store import ObjectStore, serving


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    with serving(tmp_path / "store") as found, instant_executor():
        yield found
