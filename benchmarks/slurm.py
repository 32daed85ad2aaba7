"""Slurm: what ours, submitit, datatrove and plain sbatch cost a scheduler, side by side on the test cluster.

    python -m benchmarks.slurm [--repetitions 5] [--only latency,fitting,calls,submission] [--without-peers]

As root, where Slurm's daemons are installed (see tests/slurm_cluster.py). Each contestant is a fresh process; each
repetition runs all of them in turns, in another order. Prints Markdown tables:

latency: 32 trivial array tasks, from the start of the submitting command to the last result, and the files made; all at
    once, on nodes that say they have 32 CPUs together, whatever this machine has
fitting: the same on nodes that have as many as this machine: what does not fit waits
calls: what reaches slurmctld (sdiag) and which of Slurm's commands are run, for 64 array tasks, followed to their end
submission: the time of the submitting command for an array of 10,000 elements, held so that nothing runs
"""

import argparse
import compileall
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.contest import await_quiet, cores, machine, median, table
from benchmarks.slurm_contestants import CONTESTANTS, OURS, PLAIN, PLANNED, Contestant
from tests.slurm_cluster import SlurmCluster
from tests.support.slurm_conf import Node, Site

_ROOT = Path(__file__).parents[1]
SITE = Site(lines=("MaxArraySize=10001",))
FITTING_SITE = replace(SITE, nodes=(Node(cpus=cores()),))
_TIMEOUT = 300.0
_QUIET = 5.0
# Questions of this benchmark itself, and what nodes say without any job.
_NOT_COUNTED = {"REQUEST_STATS_INFO", "MESSAGE_NODE_REGISTRATION_STATUS", "REQUEST_PING"}
_COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "sacctmgr", "scancel", "sinfo", "srun")


@dataclass(frozen=True)
class Outcome:
    """Seconds from the start of the command to its end (``submitted``) and to the last result; files made in all."""

    submitted: float
    last: float
    files: int


class Bench:
    """The cluster and the environment in which contestants run; commands of Slurm's that they call are counted."""

    def __init__(self, cluster: SlurmCluster, scratch: Path, contestants: Mapping[str, Contestant]) -> None:
        self.cluster = cluster
        self.contestants = contestants
        self._scratch = scratch
        self._calls = scratch / "calls"
        # datatrove's tasks call a program that is installed beside Python.
        path = f"{self._make_counters()}:{Path(sys.executable).parent}:{cluster.env['PATH']}"
        self._env = {**cluster.env, "PYTHONPATH": str(_ROOT), "PATH": path}

    def _make_counters(self) -> Path:
        folder = self._scratch / "bin"
        folder.mkdir()
        for name in _COMMANDS:
            real = shutil.which(name, path=self.cluster.env["PATH"])
            (folder / name).write_text(f'#!/bin/sh\necho {name} >> {self._calls}\nexec {real} "$@"\n')
            (folder / name).chmod(0o755)
        return folder

    def folder(self, contestant: Contestant, tasks: int, hold: bool) -> Path:
        """An empty folder, after what there is to do before the clock starts."""
        shutil.rmtree(self._scratch / "case", ignore_errors=True)
        folder = self._scratch / "case" / "run"
        folder.parent.mkdir()
        contestant.prepare(tasks, folder, hold)
        if contestant.first:
            run_to_end(self.start(contestant.first(folder)))
        folder.mkdir(exist_ok=True)
        return folder

    def start(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, cwd=_ROOT, env=self._env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def calls(self) -> Counter[str]:
        """The commands of Slurm's run since the last call of this method."""
        names = self._calls.read_text().split() if self._calls.exists() else []
        self._calls.write_text("")
        return Counter(names)

    def await_end(self, contestant: Contestant, folder: Path) -> None:
        if contestant.end:
            _await(lambda: any(folder.glob(contestant.end or "")))
        _await(lambda: not self.cluster.run("squeue", "-h"), pause=0.5)


def allow_jobs(cluster: SlurmCluster, count: int) -> None:
    """Slurm's default for jobs in its queue is 10,000, and array elements count."""
    cluster.stop_controller()
    cluster.conf.write_text(f"{cluster.conf.read_text()}MaxJobCount={count}\n")
    cluster.start_controller()


def run_to_end(process: subprocess.Popen[bytes]) -> None:
    if process.wait():
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}")


def _await(condition: Callable[[], object], pause: float = 0.01) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {_TIMEOUT:.0f} s")
        time.sleep(pause)


def run_tasks(bench: Bench, contestant: Contestant, tasks: int) -> Outcome:
    """Submits the tasks and waits for all results, then for the end of whatever follows."""
    folder = bench.folder(contestant, tasks, hold=False)
    started = time.monotonic()
    process = bench.start(contestant.command(tasks, folder, False))
    ended: list[float] = []

    def is_complete() -> bool:
        if process.poll() is not None and not ended:
            ended.append(time.monotonic() - started)
        return contestant.results(folder) >= tasks

    _await(is_complete)
    last = time.monotonic() - started
    run_to_end(process)
    bench.await_end(contestant, folder)
    files = sum(path.is_file() for path in folder.rglob("*"))
    return Outcome(ended[0] if ended else last, last, files)


def submit_held(bench: Bench, contestant: Contestant, tasks: int) -> Outcome:
    """The time of the submitting command alone; the elements never start."""
    folder = bench.folder(contestant, tasks, hold=True)
    before = sum(path.is_file() for path in folder.rglob("*"))
    started = time.monotonic()
    run_to_end(bench.start(contestant.command(tasks, folder, True)))
    seconds = time.monotonic() - started
    files = sum(path.is_file() for path in folder.rglob("*")) - before
    bench.cluster.run("scancel", "--user=root")
    _await(lambda: not bench.cluster.run("squeue", "-h"), pause=0.5)
    return Outcome(seconds, seconds, files)


def in_turns(
    bench: Bench,
    contestants: Mapping[str, Contestant],
    repetitions: int,
    measure: Callable[[Bench, Contestant, int], Outcome],
    tasks: int,
) -> dict[str, list[Outcome]]:
    outcomes: dict[str, list[Outcome]] = {name: [] for name in contestants}
    names = list(contestants)
    for repetition in range(repetitions):
        turn = repetition % len(names)
        for name in names[turn:] + names[:turn]:
            await_quiet()
            outcomes[name].append(measure(bench, contestants[name], tasks))
            print(f"{repetition + 1}/{repetitions} {name}: {outcomes[name][-1]}", file=sys.stderr)
    return outcomes


def latency(bench: Bench, repetitions: int) -> str:
    tasks = 32
    outcomes = in_turns(bench, bench.contestants, repetitions, run_tasks, tasks)
    rows = [
        [name, f"{median(o.last for o in runs):.1f}", _spread([o.last for o in runs], 1), str(runs[-1].files)]
        for name, runs in outcomes.items()
    ]
    head = ("", "submit to last result, s", "(least to most)", "files made")
    return f"{tasks} trivial array tasks, medians of {repetitions} repetitions in turns.\n\n{table(head, rows)}"


def _spread(values: list[float], digits: int) -> str:
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def calls(bench: Bench, repetitions: int) -> str:
    del repetitions  # counts do not differ by chance
    tasks = 64
    rows = []
    for name, contestant in bench.contestants.items():
        bench.cluster.run("sdiag", "--reset")
        bench.calls()
        _run_followed(bench, contestant, tasks)
        _await_elements(bench, tasks)
        found = {kind: n for kind, n in bench.cluster.sdiag()["by_type"].items() if kind not in _NOT_COUNTED}
        rows.append([name, str(sum(found.values())), _listed(found), _listed(bench.calls())])
        bench.await_end(contestant, bench._scratch / "case" / "run")
    head = ("", "calls that slurmctld answered", "of which", "commands run")
    return f"{tasks} trivial array tasks, followed to their end.\n\n{table(head, rows)}"


def _run_followed(bench: Bench, contestant: Contestant, tasks: int) -> None:
    folder = bench.folder(contestant, tasks, hold=False)
    bench.start(contestant.command(tasks, folder, False)).wait()
    if contestant.follow:
        bench.start(contestant.follow(folder)).wait()
    _await(lambda: contestant.results(folder) >= tasks)
    if contestant.end:
        _await(lambda: any(folder.glob(contestant.end or "")))


def _await_elements(bench: Bench, tasks: int) -> None:
    """Until each has told slurmctld that it ended, or none has for some seconds: of ours some may never start."""
    seen, quiet_since = 0, time.monotonic()
    while seen < tasks and time.monotonic() - quiet_since < _QUIET:
        time.sleep(0.1)
        found = _count(bench, "REQUEST_COMPLETE_BATCH_SCRIPT")
        if found != seen:
            seen, quiet_since = found, time.monotonic()


def _count(bench: Bench, kind: str) -> int:
    return bench.cluster.sdiag()["by_type"].get(kind, 0)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items(), key=lambda item: -item[1])) or "none"


def submission(bench: Bench, repetitions: int) -> str:
    tasks = 10_000
    contestants = {name: c for name, c in bench.contestants.items() if name != OURS}
    contestants = {f"{OURS}, launcher submit": PLANNED, **contestants}
    outcomes = in_turns(bench, contestants, repetitions, submit_held, tasks)
    rows = [
        [
            name,
            f"{median(o.submitted for o in runs):.2f}",
            _spread([o.submitted for o in runs], 2),
            f"{runs[-1].files:,}",
        ]
        for name, runs in outcomes.items()
    ]
    head = ("", "seconds", "(least to most)", "files made")
    text = f"An array of {tasks:,} elements, from the start of the command to its end, medians of {repetitions} repetitions"
    return f"{text} in turns. Ours: of a run that is planned.\n\n{table(head, rows)}"


_PARTS = {"latency": latency, "fitting": latency, "calls": calls, "submission": submission}
_SITES = {"fitting": FITTING_SITE}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", default=",".join(_PARTS), help="parts, with commas (default: %(default)s)")
    parser.add_argument("--without-peers", action="store_true", help="plain sbatch and ours alone")
    options = parser.parse_args()
    contestants = {name: CONTESTANTS[name] for name in (PLAIN, OURS)} if options.without_peers else CONTESTANTS
    for name in ("jobs", "launcher", "benchmarks"):  # as pip does with what it installs, the peers among it
        compileall.compile_dir(_ROOT / name, quiet=1)
    print(machine())
    for name in options.only.split(","):
        site = _SITES.get(name, SITE)
        with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch, SlurmCluster(site=site) as cluster:
            allow_jobs(cluster, 20_000)
            print(f"\n{name}, {cluster.run('sbatch', '--version').strip()}")
            print(_PARTS[name](Bench(cluster, Path(scratch), contestants), options.repetitions), flush=True)


if __name__ == "__main__":
    main()
