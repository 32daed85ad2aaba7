"""Library peers: the squares of numbers, in order, as users of the common packages write it.

``python -m benchmarks.library_peers NAME COUNT WORKERS`` runs one in a fresh interpreter, and prints seconds: of the first
pass, from before its processes were started, and of the second, with all of them warm. Started by library.py. Nothing
but the standard library is imported for all, so that a peer may live in an environment of its own.
"""

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.queues import Queue
from typing import Any

Squares = Callable[[range], list[int]]


def square(number: int) -> int:
    return number * number


@contextmanager
def ours(workers: int) -> Iterator[Squares]:
    """jobs.Hierarchy."""
    from jobs import Hierarchy

    with Hierarchy(square, workers=workers) as hierarchy:
        yield hierarchy.map


@contextmanager
def queue(workers: int) -> Iterator[Squares]:
    """Processes on two queues, an item for each sample and each result."""
    tasks: Queue[Any] = multiprocessing.Queue()
    results: Queue[Any] = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=_serve, args=(tasks, results)) for _ in range(workers)]
    for process in processes:
        process.start()

    def run(numbers: range) -> list[int]:
        for item in enumerate(numbers):
            tasks.put(item)
        found = dict(results.get() for _ in numbers)
        return [found[index] for index in range(len(numbers))]

    yield run
    for _ in processes:
        tasks.put(None)
    for process in processes:
        process.join()


def _serve(tasks: "Queue[Any]", results: "Queue[Any]") -> None:
    while item := tasks.get():
        results.put((item[0], square(item[1])))


@contextmanager
def executor(workers: int, chunk: int) -> Iterator[Squares]:
    """concurrent.futures."""
    with ProcessPoolExecutor(workers) as pool:
        yield lambda numbers: list(pool.map(square, numbers, chunksize=chunk))


@contextmanager
def pool(workers: int, chunk: int) -> Iterator[Squares]:
    """multiprocessing.Pool."""
    with multiprocessing.Pool(workers) as processes:
        yield lambda numbers: list(processes.imap(square, numbers, chunksize=chunk))


@contextmanager
def joblib(workers: int) -> Iterator[Squares]:
    """joblib with loky, which chooses its batches by itself."""
    from joblib import Parallel, delayed

    with Parallel(workers) as parallel:
        yield lambda numbers: list(parallel(delayed(square)(number) for number in numbers))


@contextmanager
def ray(workers: int, chunk: int) -> Iterator[Squares]:
    """Ray's pool of actors, as its page on multiprocessing has it."""
    import ray as package
    from ray.util.multiprocessing import Pool

    package.init(num_cpus=workers, logging_level="error", include_dashboard=False)
    with Pool(workers) as processes:
        yield lambda numbers: list(processes.imap(square, numbers, chunksize=chunk))
    package.shutdown()


PEERS: dict[str, Any] = {
    "ours": ours,
    "queue": queue,
    "executor-1": partial(executor, chunk=1),
    "executor-1000": partial(executor, chunk=1000),
    "pool-1000": partial(pool, chunk=1000),
    "joblib": joblib,
    "ray-1000": partial(ray, chunk=1000),
}


def main(name: str, count: int, workers: int) -> None:
    expected = [number * number for number in range(count)]
    began = time.monotonic()
    with PEERS[name](workers) as run:
        if run(range(count)) != expected:
            sys.exit(f"{name}: wrong results")
        first = time.monotonic() - began
        began = time.monotonic()
        results = run(range(count))
        second = time.monotonic() - began
        if results != expected:
            sys.exit(f"{name}: wrong results")
    print(first, second)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
