"""A store on this machine, to which results go, and an executor whose runs are done at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.references.stores import _store
from tests.support.instant_executor import instant_executor
from tests.support.object_store import ObjectStore, serving


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    (tmp_path / "store" / "bucket").mkdir(parents=True)
    with serving(tmp_path / "store") as found, instant_executor():
        _store.cache_clear()
        yield found
