"""Assembling the result: ours beside copying the same bytes and two usual ways with h5py.

    python -m benchmarks.gather [--mebibytes 256] [--shards 64] [--tasks 64] [--repetitions 5] [--without-h5py] [--folder DIR]

Every contestant makes a file of the same float32 rows and syncs it to disk, in a fresh process; each repetition runs all of
them, in another order. Ours reads what ``tasks`` array tasks have stored, checks every hash and writes ids, status and
errors; h5py's read an HDF5 file for each shard.
"""

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from jobs.gather.gather import gather
from jobs.gather.hdf5_file import create_dataset, create_file
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from tests.support.builders import build_run

_ROOT = Path(__file__).parents[1]
WIDTH = 512
BATCH = 64


def build(folder: Path, mebibytes: int, shards: int, tasks: int, *, files: bool = True) -> None:
    """A run of ``mebibytes`` in rows of WIDTH float32 and batches of BATCH rows at most; with ``files`` as one a shard, too."""
    rows = (mebibytes << 20) // (4 * WIDTH)
    boundaries = [rows * index // shards for index in range(shards + 1)]
    generator = np.random.default_rng(0)

    def compute(rows: np.ndarray) -> dict[str, np.ndarray]:
        return {"embedding": generator.standard_normal((len(rows), WIDTH), np.float32)}

    build_run(folder, boundaries, compute, batch_size=BATCH, tasks=min(tasks, shards))
    (folder / "files").mkdir()
    for start, stop in itertools.pairwise(boundaries if files else ()):
        with h5py.File(folder / "files" / f"{start:09d}.h5", "w") as file:
            file["embedding"] = compute(np.arange(start, stop))["embedding"]


def ours(run: RunDir, out: Path) -> None:
    gather(run, output=out)


def copy_file_range(run: RunDir, out: Path) -> None:
    with create_file(out) as file:
        at = create_dataset(file, "embedding", "<f4", (Plan.read(run.plan).rows, WIDTH))
    target = os.open(out, os.O_RDWR)
    for path in sorted(run.attempts.glob("*.data")):
        source = os.open(path, os.O_RDONLY)
        while copied := os.copy_file_range(source, target, 1 << 30, offset_dst=at):
            at += copied
        os.close(source)
    os.fsync(target)
    os.close(target)


def concatenate(run: RunDir, out: Path) -> None:
    parts = []
    for path in sorted((run.path / "files").iterdir()):
        with h5py.File(path) as file:
            parts.append(file["embedding"][()])
    with h5py.File(out, "w") as file:
        file["embedding"] = np.concatenate(parts)
    _sync(out)


def append(run: RunDir, out: Path) -> None:
    with h5py.File(out, "w") as target:
        chunks = (min(256, Plan.read(run.plan).rows), WIDTH)
        dataset = target.create_dataset("embedding", (0, WIDTH), "<f4", maxshape=(None, WIDTH), chunks=chunks)
        for path in sorted((run.path / "files").iterdir()):
            with h5py.File(path) as file:
                rows = len(dataset)
                dataset.resize(rows + len(file["embedding"]), axis=0)
                dataset[rows:] = file["embedding"][()]
    _sync(out)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


CONTESTANTS: dict[str, Callable[[RunDir, Path], None]] = {
    "copy_file_range of the bytes": copy_file_range,
    "launcher gather": ours,
    "h5py: read all, concatenate, write": concatenate,
    "h5py: resize and append": append,
}


def run_one(name: str, folder: Path) -> None:
    """One measurement in this process: prints seconds, CPU seconds, and MiB of memory on top of what it had before."""
    run, out = RunDir(folder / "run"), folder / "out.h5"
    before = _memory("VmRSS")
    started, busy = time.perf_counter(), time.process_time()
    CONTESTANTS[name](run, out)
    seconds, cpu = time.perf_counter() - started, time.process_time() - busy
    print(json.dumps({"seconds": seconds, "cpu": cpu, "memory": _memory("VmHWM") - before}))


def _memory(field: str) -> float:
    # Not ru_maxrss: a child starts with its parent's.
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def measure(folder: Path, repetitions: int, contestants: Sequence[str]) -> dict[str, list[dict[str, float]]]:
    """These contestants in turns; the files that they read are in the page cache, earlier writes are on disk."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for repetition in range(repetitions + 1):
        names = list(contestants)
        for name in names[repetition % len(names) :] + names[: repetition % len(names)]:
            (folder / "out.h5").unlink(missing_ok=True)
            os.sync()
            command = [sys.executable, "-m", "benchmarks.gather", "--one", name, "--folder", str(folder)]
            done = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True)
            if repetition:  # the first round warms the page cache
                found[name].append(json.loads(done.stdout))
    return found


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Medians, and their ratios to the first contestant's."""
    columns = ("seconds", "cpu", "memory")
    medians = {
        name: [statistics.median(one[column] for one in measured) for column in columns]
        for name, measured in found.items()
    }
    lines = [
        "| contestant | seconds | ratio | CPU seconds | ratio | memory, MiB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    base_seconds, base_cpu, _ = next(iter(medians.values()))
    for name, (seconds, cpu, memory) in medians.items():
        wall = f"{seconds:.3f} | {seconds / base_seconds:.2f}"
        lines.append(f"| {name} | {wall} | {cpu:.3f} | {cpu / base_cpu:.2f} | {memory:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description="result assembly beside its peers")
    parser.add_argument("--mebibytes", type=int, default=256, help="size of the data")
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder in the current one)")
    parser.add_argument("--without-h5py", action="store_true", help="only ours and the copy: very many shards are slow")
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(options.one, options.folder)
        return
    with tempfile.TemporaryDirectory(dir=options.folder or Path.cwd(), prefix="gather-") as folder:
        files = not options.without_h5py
        build(Path(folder) / "run", options.mebibytes, options.shards, options.tasks, files=files)
        found = measure(
            Path(folder), options.repetitions, [name for name in CONTESTANTS if files or "h5py" not in name]
        )
    print(
        f"{options.mebibytes} MiB of float32 [n, {WIDTH}], {options.shards} shards of {options.tasks} tasks, "
        f"batches of {BATCH} rows"
    )
    print(table(found))


if __name__ == "__main__":
    main()
