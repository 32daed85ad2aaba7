"""What tests of manifests share."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, so that messages name the file alone."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
