"""Inputs that nobody thought of end with a message: no traceback, no hang, no more than 2 s or 200 MB each.

CHAOS_FUZZ=100000 in the environment is the long version, of some minutes.
"""

import subprocess
import sys
from pathlib import Path

from tests.support.chaos import amount
from tests.support.launcher_runs import environment


def test_whatever_is_read_is_taken_or_refused_with_a_message(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "tests.support.fuzzing", str(tmp_path), str(amount("FUZZ", 500, 1500)), "11"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
