"""Peer: a contestant that is one of the designs in peers.py or starters.py; Plain: a bare command to compare with.

A contestant of the parts of node.py.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.work import Case


@dataclass(frozen=True)
class Peer:
    """A design of peers.py or, by ``module``, starters.py; it has ``processes`` (loaders, or processes that do all)."""

    name: str
    processes: int = 2
    module: str = "benchmarks.peers"

    def command(self, case: Case, out: Path, late: int) -> list[str]:
        arguments = [case.work, str(case.folder), str(case.count), str(self.processes), str(late), str(out)]
        # Not -m: what spawn and forkserver start would import the module again, as another __main__.
        program = f"import sys; from {self.module} import main; main(*sys.argv[1:])"
        return [sys.executable, "-c", program, self.name, *arguments]

    def end(self, out: Path) -> float:
        return max(float(path.read_text()) for path in out.glob("end*"))

    def results(self, out: Path) -> np.ndarray | None:
        return np.concatenate([np.load(path) for path in sorted(out.glob("results*.npy"))])


@dataclass(frozen=True)
class Plain:
    """A command of Python that computes nothing, for its wall clock."""

    program: str

    def command(self, case: Case, out: Path, late: int) -> list[str]:
        return [sys.executable, "-c", self.program]

    def end(self, out: Path) -> float:
        return math.nan

    def results(self, out: Path) -> np.ndarray | None:
        return None
