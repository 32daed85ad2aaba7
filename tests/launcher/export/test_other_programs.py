"""What other programs read is tested in a process of its own: their threads would not live on in the forks of other tests."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.launcher_runs import ROOT
from tests.support.patience import PATIENCE

HERE = Path(__file__).parent


def test_other_programs_open_an_export_as_their_own() -> None:
    files = [HERE / "other_programs.py", f"{HERE / 'test_export.py'}::test_any_output_is_exported_as_it_is"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, files)]
    variables = {**os.environ, "EXPORT_TO_LANCE": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout
