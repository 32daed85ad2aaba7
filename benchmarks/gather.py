"""Assembling the result: ours beside copying the same bytes and two usual ways with h5py.

    python -m benchmarks.gather [--mebibytes 256] [--shards 64] [--repetitions 5] [--folder DIR]

Every contestant makes a file of the same float32 rows and syncs it to disk, in a fresh process; each repetition runs all of
them, in another order. Ours and the copy read what attempts stored, each of them a shard; h5py reads an HDF5 file for each
shard. Ours also checks every hash and writes ids, status and errors.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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


def build(folder: Path, mebibytes: int, shards: int) -> None:
    """A run of ``mebibytes`` in rows of WIDTH float32 and batches of BATCH rows, and its shards as HDF5 files."""
    rows = (mebibytes << 20) // (4 * WIDTH)
    boundaries = [rows * index // shards for index in range(shards + 1)]
    generator = np.random.default_rng(0)

    def compute(rows: np.ndarray) -> dict[str, np.ndarray]:
        return {"embedding": generator.standard_normal((len(rows), WIDTH), np.float32)}

    run = build_run(folder, boundaries, compute, batch_size=BATCH)
    for name, data in zip(_shard_files(run), _data_files(run), strict=True):
        with h5py.File(name, "w") as file:
            file["embedding"] = np.fromfile(data, np.float32).reshape(-1, WIDTH)


def _data_files(run: RunDir) -> list[Path]:
    """What attempts stored, in the order of rows: a shard each."""
    return sorted(run.attempts.glob("*.data"))


def _shard_files(run: RunDir) -> list[Path]:
    return [run.path / f"{shard.index:06d}.h5" for shard in Plan.read(run.plan).shards()]


def ours(run: RunDir, out: Path) -> None:
    gather(run, output=out)


def copy_file_range(run: RunDir, out: Path) -> None:
    with create_file(out) as file:
        at = create_dataset(file, "embedding", "<f4", (Plan.read(run.plan).rows, WIDTH))
    target = os.open(out, os.O_RDWR)
    for path in _data_files(run):
        source = os.open(path, os.O_RDONLY)
        left = os.fstat(source).st_size
        while left:
            copied = os.copy_file_range(source, target, left, None, at)
            at, left = at + copied, left - copied
        os.close(source)
    os.fsync(target)


def concatenate(run: RunDir, out: Path) -> None:
    parts = []
    for path in _shard_files(run):
        with h5py.File(path) as file:
            parts.append(file["embedding"][()])
    with h5py.File(out, "w") as file:
        file["embedding"] = np.concatenate(parts)
    _sync(out)


def append(run: RunDir, out: Path) -> None:
    with h5py.File(out, "w") as target:
        chunks = (min(256, Plan.read(run.plan).rows), WIDTH)
        dataset = target.create_dataset("embedding", (0, WIDTH), "<f4", maxshape=(None, WIDTH), chunks=chunks)
        for path in _shard_files(run):
            with h5py.File(path) as file:
                rows = file["embedding"][()]
            dataset.resize(len(dataset) + len(rows), axis=0)
            dataset[-len(rows) :] = rows
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


def measure(folder: Path, repetitions: int) -> dict[str, list[dict[str, float]]]:
    """All contestants in turns; the files that they read are in the page cache, earlier writes are on disk."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
    for repetition in range(repetitions + 1):
        names = list(CONTESTANTS)
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
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder in the current one)")
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(options.one, options.folder)
        return
    with tempfile.TemporaryDirectory(dir=options.folder or Path.cwd(), prefix="gather-") as folder:
        build(Path(folder) / "run", options.mebibytes, options.shards)
        found = measure(Path(folder), options.repetitions)
    print(f"{options.mebibytes} MiB of float32 [n, {WIDTH}], {options.shards} shards, batches of {BATCH} rows")
    print(table(found))


if __name__ == "__main__":
    main()
