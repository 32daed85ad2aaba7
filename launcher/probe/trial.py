"""Trial: one array task, run on a few samples in a run directory of its own, followed from outside and stopped in time.

It is the same `python -m jobs` as in a run, on as many CPUs as an array task of those settings gets.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.kinds import EndReason
from jobs.machine.devices import CPU_SHARE
from jobs.storage.attempts import Attempts
from jobs.storage.beats import Beat
from jobs.storage.journal import decode, ended_lines, is_of
from jobs.storage.plans import Plan
from jobs.storage.records import Commit, Commits
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Submission
from launcher.local.array import start_task
from launcher.probe.peak_memory import PeakMemory
from launcher.runs.logs import last_words
from launcher.runs.submissions import create
from launcher.units import counted

_TICK = 0.01
_KILL_SECONDS = 5.0
_IDLE_SECONDS = 0.5


@dataclass(frozen=True)
class TrialSettings:
    """What is tried: processes of an array task, pool workers of each, samples of a batch.

    ``in_flight``: samples of each process at a time, of a Job that takes them one by one (its batches are of one);
    ``gpus_per_process`` are GPUs that each process has to itself.
    """

    processes: int
    workers: int
    batch_size: int
    in_flight: int | None = None
    gpus_per_process: int = 0

    @property
    def cpus(self) -> int:
        """Those of the array task."""
        return self.processes * (max(self.workers, 1) + self.gpus_per_process)

    @property
    def lanes(self) -> int:
        """Batches that are worked on at the same time; where they are samples one by one, those in flight."""
        return self.processes * (self.in_flight or max(self.workers, 1))

    def __str__(self) -> str:
        size = f"{self.in_flight} in flight" if self.in_flight else f"batches of {self.batch_size}"
        return f"{counted(self.processes, 'process', 'processes')} x {counted(self.workers, 'worker')}, {size}"


@dataclass(frozen=True)
class Trace:
    """What was seen of a task: ``times`` are those of its commits, in seconds since it was started.

    ``last`` is the last beat of its attempt, None where it never came that far; ``words`` are its log's last ones;
    ``peak_memory`` is that of all its processes, bytes; ``stopped`` says that it did not run to its end, ``interrupted``
    that a person wanted that.
    """

    times: tuple[float, ...]
    commits: tuple[Commit, ...]
    last: Beat | None
    status: int
    words: str
    peak_memory: int
    stopped: bool
    interrupted: bool = False

    @property
    def problem(self) -> str | None:
        """What went wrong; None where nothing did, but that there was no time for more."""
        last = self.last
        if last and last.end is EndReason.FAILED:
            return f"{last.kind}: {last.message}"
        if last and last.given_up:
            return f"{last.given_up[0].kind}: {last.given_up[0].message}"
        if self.commits and all(len(commit.failed) == commit.stop - commit.start for commit in self.commits):
            sample = self.commits[0].failed[0]
            return f"every sample failed, for example: {sample.kind}: {sample.message}"
        if self.stopped or (last and last.end is EndReason.DONE):
            return None
        return f"the array task ended with status {self.status}: {self.words or 'it said nothing'}"


Enough = Callable[[Sequence[float]], bool]
"""The times of the commits so far -> whether that will do."""


def prepare(folder: Path, plan: Plan, settings: TrialSettings, node: NodeSettings, rows: int) -> RunDir:
    """A run directory of one shard of ``rows`` samples; its manifest is for the caller to write."""
    run = RunDir(folder)
    run.make()
    manifest = {key: value for key, value in plan.manifest.items() if key == "upstream"}
    own = replace(plan, rows=rows, boundaries=(0, rows), parts=(), batch_size=settings.batch_size, manifest=manifest)
    own.write(run.plan)
    # Failed samples are for the probe to judge: what the others take is worth knowing all the same.
    in_flight = settings.in_flight or node.in_flight
    node = replace(
        node, processes=settings.processes, workers=settings.workers, in_flight=in_flight, max_failed_samples=1.0
    )
    create(run, Submission(1, "local", time.time(), 1, Spans([(0, rows)]), ((0, rows),), node))
    return run


def run_trial(
    run: RunDir, cpus: Sequence[int], environment: Mapping[str, str], enough: Enough, deadline: float
) -> Trace:
    """Runs the task on these CPUs until it has done all, or ``enough``, or a person presses Ctrl-C.

    It is asked to leave in good order, which lets it finish the batches at hand, and is ended at ``deadline``
    (time.monotonic) however far that is.
    """
    started = time.monotonic()
    process = _start(run, cpus, environment)
    tail, memory = _Tail(run, started), PeakMemory(process.pid)
    stopped = interrupted = False
    try:
        while process.poll() is None and not stopped:
            tail.read()
            memory.look()
            stopped = enough(tail.times)
            time.sleep(_TICK)
    except KeyboardInterrupt:
        stopped = interrupted = True
    words = last_words(run.log(1, 0)) if stopped else ""  # not what it says of being told to leave
    # Where not even a first batch is done, there is nothing that would be worth waiting for.
    _stop(process, deadline if tail.times else min(deadline, time.monotonic() + _IDLE_SECONDS))
    if not stopped:
        tail.read()
    attempts = Attempts(run).read()
    return Trace(
        times=tuple(tail.times),
        commits=tuple(tail.commits),
        last=attempts[0].beat if attempts else None,
        status=process.returncode,
        words=words or last_words(run.log(1, 0)),
        peak_memory=memory.bytes,
        stopped=stopped,
        interrupted=interrupted,
    )


def _start(run: RunDir, cpus: Sequence[int], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    own = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus)  # children inherit it
        return start_task(run, 1, 0, {**os.environ, **environment, CPU_SHARE: str(len(cpus))})
    finally:
        os.sched_setaffinity(0, own)


def _stop(process: "subprocess.Popen[bytes]", deadline: float) -> None:
    """SIGTERM, at the deadline again, which ends it at once, and SIGKILL should even that not do, or at Ctrl-C."""
    try:
        for wait in (max(deadline - time.monotonic(), 0.0), _KILL_SECONDS):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(wait)
                return
    except KeyboardInterrupt:
        pass
    process.kill()
    process.wait()


class _Tail:
    """The commits that the task's journal got, and when."""

    def __init__(self, run: RunDir, started: float) -> None:
        self._folder = run.attempts
        self._started = started
        self._read = 0
        self.commits: list[Commit] = []
        self.times: list[float] = []

    def read(self) -> None:
        """Looks for new lines."""
        for journal in self._folder.glob("*.journal"):  # of one attempt
            for end, line in ended_lines(journal, self._read):
                self._read = end
                # Only commits are decoded, for the task needs the CPUs now.
                record = decode(line) if is_of(line, Commits) else None
                if isinstance(record, Commits):
                    self.commits += record.commits
                    self.times += [time.monotonic() - self._started] * len(record.commits)


def output_bytes(trace: Trace) -> int:
    """Bytes of results that the commits stand for."""
    return sum(block.size for commit in trace.commits for block in commit.blocks)
