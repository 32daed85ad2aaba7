"""`launcher status` of a run of many shards, by the number of its attempts: first look, and again.

    python -m benchmarks.status [--shards 100000] [--attempts 64,1000,10000] [--repetitions 5] [--folder DIR]
    python -m benchmarks.status --growth [--scale 1.0] [--folder DIR]

Of the shards 99% are done, half a percent failed, half a percent are running. ``command``: the whole command in a fresh
process. ``first``: a StatusReader's first look in a process that has imported all. ``again``: its next one, when nothing
has changed. ``moved``: when all attempts that go on have written since.
"""

import argparse
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks import growth
from jobs.kinds import EndReason, FailureKind, ShardState
from jobs.storage.beats import Beat, GivenUp, Held
from jobs.storage.journal import Journal
from jobs.storage.plans import Plan
from jobs.storage.records import AttemptStart, Block, Commit, Commits, DataFile, JobSpec
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Submission
from launcher.status.reader import StatusReader

_ROOT = Path(__file__).parents[1]
ROWS = 32
"""Of a shard: two batches."""
ELSEWHERE = {"host": "elsewhere", "boot": "", "pid": 1, "start": 1}
_LINE = 8
"""Commits of a line."""


def build(folder: Path, shards: int, attempts: int) -> RunDir:
    """A run that goes on on other machines: each attempt has a range of shards and gave some up."""
    run = RunDir(folder)
    run.make()
    rows, few = shards * ROWS, shards // 200
    boundaries = tuple(range(0, rows + 1, ROWS))
    Plan("status", "0", 0.0, rows, None, boundaries, JobSpec("jobs.job:Job"), ROWS // 2, 0, {}).write(run.plan)
    cuts = [shards * n // attempts * ROWS for n in range(attempts + 1)]
    ranges = tuple(itertools.pairwise(cuts))
    all_rows = Spans([(0, rows)])
    Submission(1, "slurm", time.time(), attempts, all_rows, ranges, NodeSettings(), job_ids=("1",)).write(
        run.submission(1)
    )
    running, failed = _spread(attempts, few), _spread(attempts, few, shift=attempts // 2)
    for worker, (start, stop) in enumerate(ranges):
        _write(run, worker, range(start // ROWS, stop // ROWS), running[worker], failed[worker])
    return run


def _spread(attempts: int, count: int, shift: int = 0) -> list[int]:
    """How many of ``count`` things each attempt has."""
    found = [0] * attempts
    for n in range(count):
        found[(n * attempts // count + shift) % attempts] += 1
    return found


def _write(run: RunDir, worker: int, shards: range, running: int, failed: int) -> None:
    """The last ``running`` shards are half done, the first ``failed`` are given up, half done too; it ended without any."""
    halves = [*shards[:failed], *shards[len(shards) - running :]]
    done = Spans([(shards.start * ROWS, shards.stop * ROWS)]) - Spans(
        (shard * ROWS + ROWS // 2, shard * ROWS + ROWS) for shard in halves
    )
    now = time.time()
    with Journal(run.journal(f"0001-{worker:05d}-{worker:08x}")) as journal:
        journal.append(AttemptStart(1, worker, worker, now - 3600, "elsewhere", ELSEWHERE), DataFile(0, "x.0.data"))
        journal.append(*_commits(done))
        journal.append(
            Beat(
                number=1,
                time=now,
                done=done,
                ok=done.count,
                advanced=now,
                claims=(Held(worker, 1, shards.start * ROWS, shards.stop * ROWS, 0),),
                begun=shards.stop * ROWS,
                given_up=tuple(GivenUp(shard, FailureKind.ERROR, "no model") for shard in shards[:failed]),
                end=None if running else EndReason.DONE,
                seconds=3600.0,
                cpus=8,
                memory_limit=1 << 34,
                peak_memory=1 << 33,
                cpu_seconds=20000.0,
            )
        )


def _commits(done: Spans) -> Iterable[Commits]:
    starts = [row for start, stop in done for row in range(start, stop, ROWS // 2)]
    for at in range(0, len(starts), _LINE):
        batches = starts[at : at + _LINE]
        yield Commits(
            tuple(Commit(s, s + ROWS // 2, (Block(0, s * 64, ROWS * 32, "0" * 16),), seconds=0.5) for s in batches)
        )


def _move(run: RunDir) -> None:
    """Whoever goes on writes the same beat again."""
    for path in run.attempts.iterdir():
        line = path.read_bytes().rstrip(b"\n").rpartition(b"\n")[2]
        if b'"end":null' in line:
            with path.open("ab") as file:
                file.write(line + b"\n")


def _command(run: RunDir) -> None:
    subprocess.run(
        [sys.executable, "-m", "launcher", "status", str(run.path)], cwd=_ROOT, check=True, capture_output=True
    )


class Clock:
    """Wall and CPU seconds of this process and its children."""

    def __init__(self) -> None:
        self.taken: dict[str, list[tuple[float, float]]] = {}

    def time(self, name: str, act: Callable[[], object]) -> None:
        before, started = self._cpu(), time.perf_counter()
        act()
        self.taken.setdefault(name, []).append((time.perf_counter() - started, self._cpu() - before))

    def _cpu(self) -> float:
        used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(one.ru_utime + one.ru_stime for one in used)

    def lines(self) -> Iterable[str]:
        for name, pairs in self.taken.items():
            wall, cpu = ([1000 * pair[n] for pair in pairs] for n in (0, 1))
            yield f"  {name:8} {min(wall):7.1f} ms (median {statistics.median(wall):7.1f}), CPU {min(cpu):7.1f} ms"


def measure(run: RunDir, repetitions: int) -> Iterable[str]:
    clock = Clock()
    for _ in range(repetitions):
        _look(run, clock)
    return clock.lines()


def _look(run: RunDir, clock: Clock) -> None:
    clock.time("command", lambda: _command(run))
    first: list[StatusReader] = []
    clock.time("first", lambda: first.append(_first(run)))
    clock.time("again", lambda: first[0].read().to_json())
    _move(run)
    clock.time("moved", lambda: first[0].read().to_json())


def _first(run: RunDir) -> StatusReader:
    reader = StatusReader(run)
    reader.read().to_json()
    return reader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--attempts", default="64,1000,10000")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--growth", action="store_true", help="failed samples, batches and shards by the million")
    parser.add_argument("--scale", type=float, default=1.0, help="of the million")
    options = parser.parse_args()
    if options.growth:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for line in growth.measure(Path(folder), options.scale):
                print(line, flush=True)
        return
    for attempts in map(int, options.attempts.split(",")):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            run = build(Path(folder) / "run", options.shards, attempts)
            counts = {state.value: StatusReader(run).read().count(state) for state in ShardState}
            print(f"{options.shards:,} shards, {attempts:,} attempts: {counts}", flush=True)
            print(*measure(run, options.repetitions), sep="\n", flush=True)


if __name__ == "__main__":
    main()
