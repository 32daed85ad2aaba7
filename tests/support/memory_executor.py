"""MemoryExecutor: another scheduler, in the memory of the test process: an array queue with limits, holds and mishaps.

Array tasks are real ``python -m jobs`` processes, started by a thread; commands run in this process (launcher.cli.main).
It shows what a scheduler has to do, and that nothing else of the launcher has to know of it.
"""

import itertools
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

from jobs.errors import InputError, RunError
from jobs.kinds import AnyFailureKind
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Resources, Submission
from launcher.config.config import Config
from launcher.config.settings import RetrySettings
from launcher.executors import EXECUTORS, Executor, Finding, Limits, Observation, Registered, Scripts
from launcher.local.local_process import failures_of
from launcher.retry.finalize import Ending, WithoutLimits, finalize
from launcher.retry.policy import Terms
from launcher.runs.submissions import may_run, update

_TICK = 0.02
_STOP_SECONDS = 30.0
_Task = subprocess.Popen[bytes]


@dataclass
class MemoryJob:
    """An array job: indices that wait, processes of those that run, exit statuses of those that ended."""

    job_id: str
    run: RunDir
    submission: Submission
    held: bool
    waiting: list[int]
    running: dict[int, _Task] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        return not self.waiting and not self.running


class MemoryScheduler:
    """Runs jobs in their order, ``slots`` array tasks at a time; takes ``largest_queue`` tasks. ``holds`` new jobs."""

    def __init__(self, slots: int = 2, largest_array: int = 1000, largest_queue: int = 1000) -> None:
        self.slots = slots
        self.largest_array = largest_array
        self.largest_queue = largest_queue
        self.holds = False
        self.questions = 0
        self.errors: list[Exception] = []
        self.held_back: list[tuple[RunDir, Submission]] = []
        self._ids = itertools.count(1)
        self._jobs: dict[str, MemoryJob] = {}
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def submit(self, run: RunDir, submission: Submission) -> str | None:
        """The job id; None where the queue takes no more."""
        with self._lock:
            indices = list(range(submission.tasks))
            if (
                sum(len(job.waiting) + len(job.running) for job in self._jobs.values()) + len(indices)
                > self.largest_queue
            ):
                return None
            job_id = f"m{next(self._ids)}"
            self._jobs[job_id] = MemoryJob(job_id, run, submission, self.holds, indices)
            return job_id

    def queue(self) -> list[MemoryJob]:
        """One question, whatever is asked of the answer."""
        with self._lock:
            self.questions += 1
            return list(self._jobs.values())

    @property
    def numbers(self) -> set[int]:
        """The submissions whose jobs are there, for the tests' own use: no question to the scheduler."""
        with self._lock:
            return {job.submission.number for job in self._jobs.values()}

    def end(self, statuses: Mapping[int, int]) -> None:
        """All that waits has ended, though nothing was started: with these exit statuses by array index, else 0."""
        with self._lock:
            for job in self._jobs.values():
                job.ended.update((index, statuses.get(index, 0)) for index in job.waiting)
                job.waiting.clear()

    def release(self) -> None:
        """Lets held jobs begin, and new ones at once."""
        with self._lock:
            self.holds = False
            for job in self._jobs.values():
                job.held = False

    def cancel(self, job_id: str) -> bool:
        """Tells the tasks to leave and waits for them; False for a job that is not there."""
        with self._lock:
            job = self._jobs.pop(job_id, None)
        for task in job.running.values() if job else ():
            task.terminate()
        for task in job.running.values() if job else ():
            task.wait(_STOP_SECONDS)
        return job is not None

    def lose(self) -> None:
        """A crash of its node and of the scheduler: tasks are gone, jobs forgotten, nobody is told."""
        with self._lock:
            for job in self._jobs.values():
                for task in job.running.values():
                    task.kill()
                    task.wait()
            self._jobs.clear()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self.lose()
        if self.errors:
            raise self.errors[0]

    def _work(self) -> None:
        while not self._closed.wait(_TICK):
            try:
                self._tick()
            except Exception as error:  # noqa: BLE001 - shown by close
                self.errors.append(error)

    def _tick(self) -> None:
        with self._lock:
            jobs = list(self._jobs.values())
            free = self.slots - sum(len(job.running) for job in jobs)
            for job in jobs:
                while job.waiting and not job.held and free > 0:
                    index = job.waiting.pop(0)
                    job.running[index] = _start_task(job, index)
                    free -= 1
                for index, task in list(job.running.items()):
                    if task.poll() is not None:
                        job.ended[index] = job.running.pop(index).returncode
        for job in jobs:
            if job.has_ended and job.job_id in self._jobs:
                self._finalize(job)

    def _finalize(self, job: MemoryJob) -> None:
        """Ends a submission; the job stays in the queue until what follows it is there."""
        submission = Submission.read(job.run.submission(job.submission.number))
        ending = Ending(failures_of(job.run, submission, job.ended))
        asked, retry = WithoutLimits(Terms(submission.resources.attempt)), RetrySettings(submission.resources.attempts)
        following = finalize(job.run, Plan.read(job.run.plan), submission, ending, asked, retry)
        with self._lock:
            self._jobs.pop(job.job_id, None)  # somebody may have cancelled it meanwhile
            held, self.held_back = self.held_back, []
        for run, waiting in [*held, *((job.run, one) for one in following)]:
            hand_over(self, run, waiting)


def _start_task(job: MemoryJob, index: int) -> _Task:
    arguments = [str(job.run.path), str(job.submission.number), str(index)]
    with job.run.log(job.submission.number, index).open("ab") as log:
        return subprocess.Popen([sys.executable, "-P", "-m", "jobs", *arguments], stdout=log, stderr=log)


def hand_over(scheduler: MemoryScheduler, run: RunDir, submission: Submission) -> Submission:
    """Submits, or holds back until another job has ended."""
    job_id = scheduler.submit(run, submission)
    if job_id is None:
        scheduler.held_back.append((run, submission))
    return update(run, submission, job_ids=(job_id,) if job_id else (), process=None)


class MemoryExecutor(Executor):
    """The executor of the scheduler that ``memory_scheduler`` has made."""

    scheduler: ClassVar[MemoryScheduler]
    name = "memory"
    title = "the test process"
    stops_with_launcher = False
    has_limits = True
    is_polled = True
    advice: Mapping[AnyFailureKind, str] = {}
    scripts: Scripts | None = None

    def prepare(self, config: Config) -> None:
        pass

    def tasks(self, config: Config, shards: int) -> int:
        return max(1, min(shards, self.scheduler.largest_array))

    def resources(self, config: Config) -> Resources:
        return Resources()

    def describe(self, config: Config) -> list[str]:
        return [f"array task: a process of the tests, {self.scheduler.slots} at a time"]

    def remarks(self, config: Config) -> list[str]:
        return []

    def examine(self, config: Config) -> Sequence[Finding]:
        return [Finding("array task", "a process of the tests")]

    def limits(self, config: Config, room: int) -> Limits:
        return Limits(None, self.scheduler.largest_array, self.scheduler.largest_queue)

    def visible_gpus(self, config: Config, here: int) -> int | None:
        return None

    def limit_overrides(self, memory: str | None, time: str | None) -> list[str]:
        if memory or time:
            raise InputError("--mem and --time: tasks in the test process have no limits")
        return []

    def start(self, run: RunDir, submissions: Sequence[Submission], *, attached: bool) -> list[Submission]:
        started = [hand_over(self.scheduler, run, submission) for submission in submissions]
        if not any(submission.job_ids for submission in started):
            raise RunError(f"{run.path}: the queue of the test process is full")
        return started

    def place(self, submission: Submission) -> str:
        return f"memory job {submission.job_ids[0]}" if submission.job_ids else "held back: the queue is full"

    def recover(self, run: RunDir, submissions: Sequence[Submission]) -> set[int]:
        return set(self.observe(run, submissions).active)

    def observe(self, run: RunDir, submissions: Sequence[Submission]) -> Observation:
        if not submissions:
            return Observation()
        own = [job for job in self.scheduler.queue() if job.run.path == run.path]
        live = {job.submission.number for job in own}
        live |= {held.number for place, held in self.scheduler.held_back if place.path == run.path}
        active = {s.number for s in submissions if s.number in live or (s.process and may_run(run, s))}
        entries: Counter[tuple[str, str]] = Counter()
        for job in own:
            entries["PENDING", "Held" if job.held else "Resources"] += len(job.waiting)
            entries["RUNNING", "None"] += len(job.running)
        return Observation(frozenset(active), +entries)

    def queue_advice(self, reason: str) -> str | None:
        return None

    def cancel(self, run: RunDir, submission: Submission) -> bool:
        kept = [
            (place, s)
            for place, s in self.scheduler.held_back
            if (place.path, s.number) != (run.path, submission.number)
        ]
        was_held = len(kept) < len(self.scheduler.held_back)
        self.scheduler.held_back = kept
        was_there = [self.scheduler.cancel(job_id) for job_id in submission.job_ids]
        return was_held or any(was_there)


@contextmanager
def memory_scheduler() -> Iterator[MemoryScheduler]:
    """A scheduler of its own, by the name "memory" in configs: all that has to be said of it elsewhere."""
    MemoryExecutor.scheduler = MemoryScheduler()
    EXECUTORS["memory"] = Registered(f"{__name__}:MemoryExecutor", None, restarts_tasks=False)
    try:
        yield MemoryExecutor.scheduler
    finally:
        del EXECUTORS["memory"]
        MemoryExecutor.scheduler.close()
