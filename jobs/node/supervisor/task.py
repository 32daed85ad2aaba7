"""Task: the supervisor of one array task (``python -m jobs RUN SUBMISSION INDEX``).

It runs the task's shards one after another with a crew of processes and pool workers, keeps each shard's journal and
heeds signals. It imports no torch and runs none of the user's code, so it survives what kills the others.
"""

import os
import shutil

from jobs.kinds import FailureKind
from jobs.machine import devices, disk, gpus, memory
from jobs.machine.scratch import make_scratch
from jobs.node.messages import Batch
from jobs.node.process.run_backend import RunBackend
from jobs.node.supervisor.alone import recover
from jobs.node.supervisor.children import CrewSettings
from jobs.node.supervisor.crew import AttemptFailed, Crew, MemoryShort
from jobs.node.supervisor.fork_server import ForkServer, ServerDied
from jobs.node.supervisor.meter import Meter, Usage
from jobs.node.supervisor.preload import preload
from jobs.node.supervisor.shard_run import ShardRun
from jobs.node.supervisor.signals import Signals
from jobs.storage.plans import Plan, Submission
from jobs.storage.records import Shard
from jobs.storage.rundir import RunDir

# Seconds that processes get to finish the batch at hand when the task has to leave (Slurm's KillWait is 30).
_HALT_GRACE = 8.0
_STOP_GRACE = 5.0
# Each time memory runs out costs a restart of all processes; beyond this the memory is plainly too small.
_MEMORY_SHORTAGES = 3


class Stopped(Exception):
    """The task has to leave; ``progress`` says whether it had committed anything, of any of its shards."""

    def __init__(self, progress: bool) -> None:
        super().__init__()
        self.progress = progress


class Task:
    """One array task: its crew, and the shard that it is at."""

    def __init__(self, run: RunDir, plan: Plan, submission: Submission, signals: Signals) -> None:
        self._run = run
        self._plan = plan
        self._submission = submission
        self._node = submission.node
        self._signals = signals
        # First, so that it imports what the Job needs while the shard is being opened.
        self._server = ForkServer(lambda: preload(plan.job))
        self._scratch = make_scratch()
        self._settings = self._make_settings()
        names = gpus.tokens(os.environ, devices.visible_gpus())
        self._meter = Meter(devices.usable_cpus(), self._settings.memory, names)
        self._crew: Crew | None = None
        self._progress = False

    def _make_settings(self) -> CrewSettings:
        node = self._node
        assigned = devices.process_devices(node, devices.usable_gpus(node))
        return CrewSettings(
            backend=RunBackend(self._run, self._plan.job),
            devices=assigned,
            workers=node.workers,
            threads=devices.compute_threads(assigned, node.workers),
            memory=node.memory or memory.task_limit(),
            scratch=self._scratch,
            seed=self._plan.seed,
        )

    def run_shard(self, shard: Shard) -> bool:
        """Runs what is left of a shard; False where it failed. Raises Stopped after a signal, BusyError."""
        if self._run.shard_done(shard.index).exists():
            print(f"shard {shard.index} is done already")
            return True
        attempt = ShardRun(self._run, self._plan, self._submission, shard)
        try:
            return self._attempt(attempt)
        finally:
            attempt.close()

    def _attempt(self, attempt: ShardRun) -> bool:
        self._meter.begin()
        try:
            self._work(attempt)
            if self._crew:
                self._crew.measure()
        except AttemptFailed as failure:
            return self._give_up(attempt, failure)
        except ServerDied as died:
            return self._give_up(attempt, AttemptFailed(FailureKind.CRASH, str(died)))
        except OSError as error:
            if not disk.is_failing(error):
                raise
            return self._give_up(attempt, AttemptFailed(FailureKind.DISK, disk.describe(error, self._run.path)))
        except Stopped:
            self._leave(attempt, self._meter.usage())
            raise Stopped(self._progress) from None
        self._progress |= attempt.committed > 0
        attempt.done(self._meter.usage())
        print(f"shard {attempt.shard.index} is done: {attempt.ok} ok, {attempt.failed} failed", flush=True)
        return True

    def _give_up(self, attempt: ShardRun, failure: AttemptFailed) -> bool:
        self._close_crew()
        attempt.give_up(failure.kind, failure.message, self._meter.usage())
        print(f"shard {attempt.shard.index} failed: {failure.kind}: {failure.message}", flush=True)
        return False

    def _leave(self, attempt: ShardRun, usage: Usage) -> None:
        if self._crew:
            self._crew.halt(_HALT_GRACE)
        self._progress |= attempt.committed > 0
        if self._signals.requeue and not self._progress:
            attempt.give_up(FailureKind.TIMEOUT, "no batch was finished within the time limit", usage)
        else:
            attempt.stopped(f"told to leave by {self._signals.name}", usage)

    # --- one shard

    def _work(self, attempt: ShardRun) -> None:
        batches = attempt.begin(self._settings.devices)
        rows = sum(batch.stop - batch.start for batch in batches)
        print(
            f"shard {attempt.shard.index}, attempt {attempt.attempt}: {rows} of {attempt.shard.rows} samples to do; "
            f"processes on {', '.join(self._settings.devices)}, {self._settings.workers} pool workers each",
            flush=True,
        )
        shortages = 0
        while batches:
            try:
                self._run_batches(attempt, batches)
                return
            except MemoryShort as short:
                shortages += 1
                left = self._recover(attempt, short, shortages)
                # Less is in memory at a time from now on, or it would run out again.
                most = max(1, self._plan.batch_size >> shortages)
                batches = [batch._replace(most=most) for batch in left]

    def _new_crew(self, settings: CrewSettings) -> Crew:
        return Crew(settings, self._server, self._node, self._meter)

    def _run_batches(self, attempt: ShardRun, batches: list[Batch]) -> None:
        if self._crew is None:
            self._crew = self._new_crew(self._settings)
        self._crew.begin(attempt, batches)
        if attempt.layout is None:
            import h5py  # noqa: F401  now, while the processes start: the first batch needs it
        while not self._crew.finished:
            self._step(self._crew, attempt)

    def _step(self, crew: Crew, attempt: ShardRun) -> None:
        if crew.step([self._signals.socket]):
            self._signals.drain()
        if self._signals.stop:
            raise Stopped(self._progress)
        attempt.sync_if_due(self._node.sync_interval)

    def _recover(self, attempt: ShardRun, short: MemoryShort, shortages: int) -> list[Batch]:
        """After memory ran out: does that batch with all else idle; returns what is left, or raises AttemptFailed."""
        # Whatever comes now, a signal too, meets no crew: `recover` ends this one, and its own.
        crew, self._crew = self._crew, None
        assert crew is not None
        limit = f"{self._settings.memory / 2**30:.1f} GiB"
        if shortages > _MEMORY_SHORTAGES:
            crew.close()
            raise AttemptFailed(
                FailureKind.OUT_OF_MEMORY,
                f"memory ran out {shortages} times, last with {short}; the task may use {limit}",
            )
        print(f"memory ran out ({short}; the task may use {limit}): doing its batch with all else idle", flush=True)
        return recover(crew, short, attempt, self._new_crew, lambda alone: self._step(alone, attempt))

    # --- the end

    def _close_crew(self, grace: float = 0.0) -> None:
        if self._crew:
            self._crew.close(grace)
        self._crew = None

    def finish(self) -> None:
        """The last thing of a task: children torn down, scratch folder removed."""
        self._close_crew(0.0 if self._signals.stop else _STOP_GRACE)
        self._server.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
