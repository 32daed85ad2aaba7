"""Versions of what is installed, told without importing it."""

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.machine.versions import installed_versions
from launcher import __version__


def test_they_are_what_the_packages_say_themselves() -> None:
    found = {
        "python": platform.python_version(),
        "launcher": __version__,
        "numpy": np.__version__,
        "torch": torch.__version__,
    }
    assert installed_versions() == found


def test_nothing_is_imported_for_them() -> None:
    code = "import sys; from jobs.machine.versions import installed_versions; installed_versions(); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "launcher"} & set(said)


def test_a_package_that_says_no_version_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text("from ._v import __version__\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "numpy")
    assert "numpy" not in installed_versions()
