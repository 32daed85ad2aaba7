"""Starters: multiprocessing's ways to start processes that need torch, from one that has not imported it.

Run by peer.py in a fresh interpreter.
"""

import multiprocessing
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gate import Gate
from benchmarks.work import Case, Work

_entered: list[Work] = []


def _enter(case: Case, gate: Gate) -> None:
    work = case.make()
    for module in work.modules:
        import_module(module)
    work.setup(0)
    _entered.append(work)
    gate.wait()


def _one(source: int) -> np.ndarray:
    work = _entered[0]
    return work.process(work.load(source)[None])


def start(context: Any, case: Case, processes: int, gate: Gate) -> np.ndarray:
    with context.Pool(processes, _enter, (case, gate)) as pool:
        return np.concatenate(pool.map(_one, range(case.count), chunksize=1))


def main(method: str, path: str, folder: str, count: str, processes: str, late: str, out: str) -> None:
    """Starts processes by a ``method`` (forkserver, spawn), and has them do ``count`` samples once all are ready.

    Writes when that was, and their results, below ``out``.
    """
    case = Case(path, Path(folder), int(count))
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([*case.make().modules, "numpy", "benchmarks.starters"])
    results = start(context, case, int(processes), Gate(Path(out) / "gate", int(processes) + int(late)))
    (Path(out) / "end").write_text(str(time.time()))
    np.save(Path(out) / "results.npy", results)
