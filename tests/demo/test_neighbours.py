"""The demo's search: the nearest vectors first, and messages instead of tracebacks."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from demo.neighbours import nearest


def test_the_nearest_vectors_come_first_and_failed_samples_last() -> None:
    vectors = np.array([[0, 1], [np.nan, np.nan], [1, 0], [0.6, 0.8], [-1, 0]], np.float32)
    found = nearest(vectors, np.array([1, 0], np.float32), 5)
    assert [row for row, _ in found] == [2, 3, 0, 4, 1]
    np.testing.assert_allclose([cosine for _, cosine in found], [1, 0.6, 0, -1, np.nan], rtol=1e-6)
    assert nearest(vectors, np.array([0, 1], np.float32), 1) == [(0, 1.0)]


def test_an_unknown_run_is_a_message_and_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "demo.neighbours", str(tmp_path / "no-such-run"), "query"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no-such-run" in done.stderr
    assert "Traceback" not in done.stderr
