"""Peers: the common ways to load and process samples on one machine, each as its users would write it.

Run by peer.py in a fresh interpreter. A peer keeps its results in memory, in the order of the samples, and that is its
end; saving them for the comparison comes after.
"""

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gate import Gate
from benchmarks.work import Case, Work

# Forked before torch computes anything, which is safe, and faster than spawn: each would import torch for itself.
_CONTEXT = multiprocessing.get_context("fork")
# Samples that may wait in the queue of ``queue``: bounded, as memory is.
_QUEUED = 256
_CHUNK = 1000


@dataclass(frozen=True)
class Bench:
    """What a design gets: ``processes`` beside its own, ``out`` for what it tells of itself, ``late``: see contest.py."""

    case: Case
    processes: int
    late: int
    out: Path

    @property
    def sources(self) -> range:
        return range(self.case.count)

    def gate(self, members: int) -> Gate:
        return Gate(self.out / "gate", members + self.late)

    def parts(self) -> list[range]:
        """Fixed and equal parts of the samples, as np.array_split makes them."""
        ends = np.cumsum([0, *map(len, np.array_split(np.empty(self.case.count, bool), self.processes))])
        return [range(start, stop) for start, stop in pairwise(ends)]

    def tell(self, key: str, value: float) -> None:
        (self.out / key).write_text(str(value))


def _batches(work: Work, sources: Sequence[int]) -> Iterator[np.ndarray]:
    for start in range(0, len(sources), work.batch_size):
        yield np.stack([work.load(source) for source in sources[start : start + work.batch_size]])


def _serial(work: Work, sources: Sequence[int]) -> np.ndarray:
    return np.concatenate([work.process(batch) for batch in _batches(work, sources)])


def bare(bench: Bench, work: Work) -> np.ndarray:
    """The work itself, in one process on one core: its CPU seconds are what the ideal divides by the cores."""
    work.setup(0)
    bench.gate(1).wait()
    before = time.process_time()
    results = _serial(work, bench.sources)
    bench.tell("cpu", time.process_time() - before)
    return results


def loaded_before(bench: Bench, work: Work) -> np.ndarray:
    """No design: one process that has all batches before it begins, so that only its device counts."""
    work.setup(0)
    batches = list(_batches(work, bench.sources))
    bench.gate(1).wait()
    return np.concatenate([work.process(batch) for batch in batches])


def halves(bench: Bench, work: Work) -> None:
    """As many bare processes, each with a fixed part, that never speak to anybody: no design can do better on equal work."""
    _apart(_half, bench, work)


def _apart(target: Callable[[Bench, Work, int, range], None], bench: Bench, work: Work) -> None:
    arguments = [(bench, work, number, part) for number, part in enumerate(bench.parts())]
    processes = [_CONTEXT.Process(target=target, args=one) for one in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def _half(bench: Bench, work: Work, number: int, sources: Sequence[int]) -> None:
    work.setup(number)
    bench.gate(bench.processes).wait()
    before = time.process_time()
    results = _serial(work, sources)
    bench.tell(f"end-{number}", time.time())
    bench.tell(f"cpu-{number}", time.process_time() - before)
    np.save(bench.out / f"results-{number}.npy", results)


def memcpy(bench: Bench, work: Work) -> None:
    """No design: processes that copy their parts, sample by sample, into pages that are warm, two batches of them each."""
    _apart(_copy, bench, work)


def _copy(bench: Bench, work: Work, number: int, sources: Sequence[int]) -> None:
    work = bench.case.make()  # sources of its own, as our workers have
    warm = np.stack([work.load(source) for source in range(2 * work.batch_size)])
    bench.gate(bench.processes).wait()
    for at, source in enumerate(sources):
        np.copyto(warm[at % len(warm)], work.load(source))
    bench.tell(f"end-{number}", time.time())
    np.save(bench.out / f"results-{number}.npy", _serial(work, sources))


def array_split(bench: Bench, work: Work) -> np.ndarray:
    """multiprocessing.Pool whose processes get a fixed part each, load, compute, and send their results back."""
    parts = [(bench, work, number, part) for number, part in enumerate(bench.parts())]
    with _CONTEXT.Pool(bench.processes) as pool:
        return np.concatenate(pool.starmap(_part, parts, chunksize=1))


def _part(bench: Bench, work: Work, number: int, sources: Sequence[int]) -> np.ndarray:
    work.setup(number)
    bench.gate(bench.processes).wait()
    return _serial(work, sources)


def loader(bench: Bench, work: Work) -> np.ndarray:
    """torch's DataLoader, its workers loading for one process."""
    from torch.utils.data import DataLoader, Dataset

    class Sources(Dataset[np.ndarray]):
        def __len__(self) -> int:
            return bench.case.count

        def __getitem__(self, index: int) -> np.ndarray:
            return work.load(index)

    gate = bench.gate(1 + bench.processes)
    batches = iter(
        DataLoader(Sources(), work.batch_size, num_workers=bench.processes, worker_init_fn=lambda _: gate.wait())
    )
    work.setup(0)
    gate.wait()
    return np.concatenate([work.process(batch.numpy()) for batch in batches])


def queue(bench: Bench, work: Work) -> np.ndarray:
    """Loaders that put every sample into a queue, read by one process."""
    return _through(_CONTEXT, lambda sample: sample, bench, work)


def torch_queue(bench: Bench, work: Work) -> np.ndarray:
    """The same with torch's queue, which hands tensors over in shared memory."""
    import torch.multiprocessing

    return _through(torch.multiprocessing.get_context("fork"), torch.from_numpy, bench, work)


def _through(context: Any, wrap: Callable[[np.ndarray], Any], bench: Bench, work: Work) -> np.ndarray:
    gate, tasks, samples, done = (
        bench.gate(1 + bench.processes),
        context.Queue(),
        context.Queue(_QUEUED),
        context.Event(),
    )
    arguments = (work, gate, tasks, samples, wrap, done)
    loaders = [context.Process(target=_load, args=arguments) for _ in range(bench.processes)]
    for process in loaders:
        process.start()
    for task in (*bench.sources, *[None] * bench.processes):
        tasks.put(task)
    work.setup(0)
    gate.wait()
    results = _collect(work, samples, bench.case.count)
    done.set()
    for process in loaders:
        process.join()
    return results


def _load(
    work: Work, gate: Gate, tasks: "Queue[Any]", samples: "Queue[Any]", wrap: Callable[[np.ndarray], Any], done: Any
) -> None:
    gate.wait()
    while (index := tasks.get()) is not None:
        samples.put((index, wrap(work.load(index))))
    done.wait()  # torch's tensors are fetched from the process that made them


def _collect(work: Work, samples: "Queue[Any]", count: int) -> np.ndarray:
    """Processes the samples as they come; a result goes where its sample belongs."""
    rows: dict[int, np.ndarray] = {}
    for start in range(0, count, work.batch_size):
        indices, items = zip(*[samples.get() for _ in range(min(work.batch_size, count - start))], strict=True)
        rows.update(zip(indices, work.process(np.stack([np.asarray(item) for item in items])), strict=True))
    return np.stack([rows[index] for index in range(count)])


def pool_map(bench: Bench, work: Work) -> np.ndarray:
    """multiprocessing.Pool.map loads, and then the model computes: all samples are in memory."""
    gate = bench.gate(1 + bench.processes)
    with _CONTEXT.Pool(bench.processes, initializer=gate.wait) as pool:
        work.setup(0)
        gate.wait()
        items = pool.map(work.load, bench.sources, chunksize=min(_CHUNK, -(-bench.case.count // (4 * bench.processes))))
    starts = range(0, len(items), work.batch_size)
    return np.concatenate([work.process(np.stack(items[start : start + work.batch_size])) for start in starts])


_entered: list[Work] = []


def pool_imap(bench: Bench, work: Work) -> np.ndarray:
    """multiprocessing.Pool.imap whose processes load and compute a batch at a time, as they have time for it."""
    gate, counter = bench.gate(bench.processes), _CONTEXT.Value("i", 0)
    with _CONTEXT.Pool(bench.processes, _enter, (work, gate, counter)) as pool:
        return np.concatenate(list(pool.imap(_batch, _cut(bench.sources, work.batch_size))))


def _cut(sources: range, size: int) -> Iterable[range]:
    return (sources[start : start + size] for start in range(0, len(sources), size))


def _enter(work: Work, gate: Gate, counter: Any) -> None:
    with counter.get_lock():
        number = counter.value
        counter.value += 1
    work.setup(number)
    _entered.append(work)
    gate.wait()


def _batch(sources: Sequence[int]) -> np.ndarray:
    return _serial(_entered[0], sources)


def ray_data(bench: Bench, work: Work) -> np.ndarray:
    """Ray Data: its tasks load, an actor computes."""
    import ray

    ray.init(num_cpus=bench.processes + 1, logging_level="error", include_dashboard=False)
    case, gate = bench.case, bench.gate(1)

    class Model:
        def __init__(self) -> None:
            self._work = case.make()
            self._work.setup(0)

        def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"id": batch["id"], "result": self._work.process(batch["item"])}

    loaded = ray.data.range(case.count).map(lambda row: {"id": row["id"], "item": work.load(row["id"])})
    computed = loaded.map_batches(Model, batch_size=work.batch_size, concurrency=1)
    gate.wait()  # its workers start with the first pass, so here start-up counts
    blocks = list(computed.iter_batches(batch_size=None))
    order = np.argsort(np.concatenate([block["id"] for block in blocks]))
    return np.concatenate([block["result"] for block in blocks])[order]


DESIGNS: dict[str, Callable[[Bench, Work], np.ndarray | None]] = {
    function.__name__: function
    for function in (
        bare,
        loaded_before,
        halves,
        memcpy,
        array_split,
        loader,
        queue,
        torch_queue,
        pool_map,
        pool_imap,
        ray_data,
    )
}


def has_ray() -> bool:
    return find_spec("ray") is not None


def main(name: str, path: str, folder: str, count: str, processes: str, late: str, out: str) -> None:
    """Runs a peer; writes when it ended and its results below ``out``."""
    bench = Bench(Case(path, Path(folder), int(count)), int(processes), int(late), Path(out))
    work = bench.case.make()
    for module in work.modules:
        import_module(module)
    if "torch" in sys.modules:
        # One for every peer: with two, loaders and the model's threads fight for the cores; none is faster for it.
        sys.modules["torch"].set_num_threads(1)
    results = DESIGNS[name](bench, work)
    if results is not None:
        bench.tell("end", time.time())
        np.save(bench.out / "results.npy", results)
