"""Peers: the common ways to load and process samples on one machine, each as its users would write it.

``python -m benchmarks.peers NAME WORK FOLDER OUT`` runs one in a fresh interpreter; started by contest.py. A peer keeps
its results in memory, in the order of the sources, and that is its end; saving them for the comparison comes after.
"""

import importlib
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gate import Gate
from benchmarks.work import Work, make_work

WORKERS = 2
# Forked before torch computes anything, which is safe, and faster than spawn: each would import torch for itself.
_CONTEXT = multiprocessing.get_context("fork")
# Samples that may wait in the queue of ``queue``: bounded, as memory is.
_QUEUED = 256


def _batches(work: Work, sources: Sequence[Any]) -> Iterator[np.ndarray]:
    for start in range(0, len(sources), work.batch_size):
        yield np.stack([work.load(source) for source in sources[start : start + work.batch_size]])


def _serial(work: Work, sources: Sequence[Any]) -> np.ndarray:
    return np.concatenate([work.process(batch) for batch in _batches(work, sources)])


def bare(work: Work, gate: Gate) -> np.ndarray:
    """The work itself, in one process on one core: its CPU seconds are what the ideal divides by the cores."""
    work.setup()
    gate.wait()
    before = time.process_time()
    results = _serial(work, work.sources)
    (gate.folder.parent / "cpu").write_text(str(time.process_time() - before))
    return results


def array_split(work: Work, gate: Gate) -> np.ndarray:
    """Processes that get a fixed half each, load and compute."""
    parts = [list(part) for part in np.array_split(np.asarray(work.sources), WORKERS)]
    with _CONTEXT.Pool(WORKERS) as pool:
        return np.concatenate(pool.starmap(_half, [(work, gate, part) for part in parts], chunksize=1))


def _half(work: Work, gate: Gate, sources: Sequence[Any]) -> np.ndarray:
    work.setup()
    gate.wait()
    return _serial(work, sources)


def loader(work: Work, gate: Gate) -> np.ndarray:
    """torch's DataLoader, its workers loading for one process."""
    from torch.utils.data import DataLoader, Dataset

    class Sources(Dataset[np.ndarray]):
        def __len__(self) -> int:
            return len(work.sources)

        def __getitem__(self, index: int) -> np.ndarray:
            return work.load(work.sources[index])

    def at_gate(_: int) -> None:
        gate.wait()

    batches = iter(DataLoader(Sources(), work.batch_size, num_workers=WORKERS, worker_init_fn=at_gate))
    work.setup()
    gate.wait()
    return np.concatenate([work.process(batch.numpy()) for batch in batches])


def queue(work: Work, gate: Gate) -> np.ndarray:
    """Loaders that put every sample into a queue, read by one process."""
    tasks, samples = _CONTEXT.Queue(), _CONTEXT.Queue(_QUEUED)
    loaders = [_CONTEXT.Process(target=_load, args=(work, gate, tasks, samples)) for _ in range(WORKERS)]
    for process in loaders:
        process.start()
    for item in (*enumerate(work.sources), *[None] * WORKERS):
        tasks.put(item)
    work.setup()
    gate.wait()
    results = _collect(work, samples)
    for process in loaders:
        process.join()
    return results


def _load(work: Work, gate: Gate, tasks: "Queue[Any]", samples: "Queue[Any]") -> None:
    gate.wait()
    while task := tasks.get():
        index, source = task
        samples.put((index, work.load(source)))


def _collect(work: Work, samples: "Queue[Any]") -> np.ndarray:
    """Processes the samples as they come; a result goes where its sample belongs."""
    count = len(work.sources)
    rows: dict[int, np.ndarray] = {}
    for start in range(0, count, work.batch_size):
        indices, items = zip(*[samples.get() for _ in range(min(work.batch_size, count - start))], strict=True)
        rows.update(zip(indices, work.process(np.stack(items)), strict=True))
    return np.stack([rows[index] for index in range(count)])


_PEERS: dict[str, tuple[Callable[[Work, Gate], np.ndarray], int]] = {
    "bare": (bare, 1),
    "array_split": (array_split, WORKERS),
    "loader": (loader, WORKERS + 1),
    "queue": (queue, WORKERS + 1),
}


def main(name: str, path: str, folder: Path, out: Path) -> None:
    """Runs a peer; writes when it ended and its results below ``out``."""
    peer, members = _PEERS[name]
    work = make_work(path, folder)
    for module in work.modules:
        importlib.import_module(module)
    if "torch" in sys.modules:
        # One for every peer: with two, loaders and the model's threads fight for the cores; none is faster for it.
        sys.modules["torch"].set_num_threads(1)
    gate = Gate(out / "gate", members)
    results = peer(work, gate)
    (out / "end").write_text(str(time.time()))
    np.save(out / "results.npy", results)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
