"""Task: the supervisor of one array task (``python -m jobs RUN SUBMISSION INDEX``).

It works on one claim after another with a crew of processes and pool workers, keeps the attempt's journal and heeds
signals. It imports no torch and runs none of the user's code, so it survives what kills the others.
"""

import select
import shutil
import sys
import time
from collections.abc import Callable

from jobs.errors import LauncherError
from jobs.kinds import EndReason, FailureKind
from jobs.machine import devices, disk
from jobs.machine.running_time import RunningTime
from jobs.node.messages import Batch
from jobs.node.process.run_backend import prepare
from jobs.node.supervisor.alone import recover, tell
from jobs.node.supervisor.attempt import AttemptLog
from jobs.node.supervisor.attempt_start import Given, new_name
from jobs.node.supervisor.children import TICK, CrewSettings
from jobs.node.supervisor.claimer import Claimer
from jobs.node.supervisor.commit_log import AttemptFailed
from jobs.node.supervisor.crew import Crew
from jobs.node.supervisor.deaths import MemoryShort
from jobs.node.supervisor.feed import Feed
from jobs.node.supervisor.fork_server import ForkServer, ServerDied
from jobs.node.supervisor.meter import Meter
from jobs.node.supervisor.preload import preload
from jobs.node.supervisor.signals import Signals
from jobs.node.supervisor.stall import StallWatch
from jobs.node.supervisor.task_settings import task_scratch, task_settings
from jobs.node.supervisor.vitals import Vitals
from jobs.storage.claims import Claim
from jobs.storage.code import refusal
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.sample_ids import SampleIds
from jobs.storage.spans import Spans
from jobs.storage.submission import Submission
from jobs.storage.upstreams import Upstream

# Of the grace in which a task has to be gone (20 s, Slurm's KillWait is 30), what its processes get to tear down, and with
# it what it takes to kill the rest and to sync, at most, seconds; all else they have for the batch at hand.
_LEAVE_GRACE = 2.0
_END_SECONDS = 12.0
# Seconds that teardown() may take when all is done: it may upload.
_TEARDOWN_GRACE = 30.0
# Batches that wait in the crew for each of its processes, at the least: several hands full.
_WAITING = 1024


class _Stopped(Exception):
    """The task has to leave."""


class Task:
    """One array task, or one of its nodes: its attempt and its crew.

    ``is_near_its_end``: whether it is for the time limit that it has to leave, as far as its scheduler tells.
    """

    def __init__(
        self,
        run: RunDir,
        plan: Plan,
        submission: Submission,
        index: int,
        worker: int,
        signals: Signals,
        is_near_its_end: Callable[[], bool],
    ) -> None:
        self._run = run
        self._plan = plan
        self._node = submission.node
        self._grace = submission.resources.grace
        self._index = index
        self._worker = worker
        self._signals = signals
        self._is_near_its_end = is_near_its_end
        self._server: ForkServer | None = None
        self._scratch = task_scratch(self._node.scratch)
        name = new_name(submission.number, worker)
        self._clock = RunningTime()
        self._claimer = Claimer(run, plan, submission, worker, name, clock=self._clock.look)
        self._stall = StallWatch(self._clock, submission.resources.stall)
        ids = SampleIds(plan.manifest_file(run))
        self._attempt = AttemptLog(run, plan, submission, name, self._claimer.seen, ids, self._vitals)
        cpus = devices.usable_cpus(processes=self._node.processes)
        usable = devices.usable_gpus(self._node)
        self._settings = task_settings(run, plan, self._node, name, cpus, self._scratch, usable)
        self._too_few_gpus = devices.too_few_gpus(self._node, usable)
        names = devices.measured_gpus(self._node, self._settings.devices)
        self._meter = Meter(cpus, self._settings.memory, names)
        self._crew: Crew | None = None
        self._most = 0
        self._looked = 0.0

    def _vitals(self) -> Vitals:
        in_flight, meter = self._crew.in_flight if self._crew else 0, self._meter
        return Vitals(meter.taken, round(self._stall.quiet, 1), in_flight, meter.busy_cpus(), meter.busy_gpus)

    def run(self) -> EndReason:
        """Works until there is nothing to do; FAILED also where it gave up a shard."""
        self._meter.begin()
        given = Given(self._settings.memory, self._meter.cpus, self._meter.gpus)
        self._attempt.begin(self._index, self._worker, self._settings.devices, given=given)
        try:
            self._serve()
            if self._crew:
                self._crew.measure()
        except AttemptFailed as failure:
            return self._fail(failure.kind, failure.message)
        except LauncherError as error:  # of the run directory
            return self._fail(FailureKind.ERROR, str(error))
        except ServerDied as died:
            return self._fail(died.kind, str(died))
        except MemoryError:
            return self._fail(FailureKind.OUT_OF_MEMORY, "the supervisor gets no more memory (see ulimit -a)")
        except OSError as error:
            if not disk.is_failing(error):
                raise
            return self._fail(FailureKind.DISK, disk.describe(error, self._run.path))
        except _Stopped:
            return self._leave()
        self._end(EndReason.DONE)
        return EndReason.FAILED if self._attempt.given_up else EndReason.DONE

    def _serve(self) -> None:
        """One claim after another."""
        if self._too_few_gpus:
            raise AttemptFailed(FailureKind.ERROR, self._too_few_gpus)
        while (offer := self._claimer.next(self._attempt.rate, 0.0 if self._crew else self._attempt.setup)) is not None:
            if isinstance(offer, Claim):
                self._work(offer)
            else:
                self._wait(offer)

    def _wait(self, seconds: float) -> None:
        """Others have all that is left, for now."""
        until = self._clock.look() + seconds
        while (left := until - self._clock.look()) > 0:
            self._stall.begin()
            if self._crew:
                self._step(self._crew, left)
            else:
                if select.select([self._signals.socket], [], [], min(left, TICK))[0]:
                    self._signals.drain()
                self._attend()

    # --- one claim

    def _work(self, claim: Claim) -> None:
        self._attempt.hold(claim, self._claimer.done_by(claim))
        self._stall.begin()
        rows = self._claimer.rows(claim)
        print(f"samples {claim.start} to {claim.stop - 1}: {rows.count} to do", flush=True)
        manifest, slots = self._plan.manifest_file(self._run), len(self._settings.devices) * self._node.in_flight
        feed = Feed.of(self._plan, manifest, rows, slots, self._most)
        shortages, again = 0, list[Batch]()
        while again or not feed.is_empty:
            try:
                self._run_batches(claim, feed, again)
                break
            except MemoryShort as short:
                shortages += short.together <= 1  # of those in flight there are fewer each time, and one in the end
                again, fits = self._recover(short, shortages)
                self._most = min(self._most or fits, fits or self._most)
                # Less is in memory at a time from now on, or it would run out again.
                size = self._plan.batch_size
                together = size if size > 1 else self._node.in_flight
                feed.most = self._most or max(1, together >> shortages)
                given_up = self._attempt.given_up
                again = [batch._replace(most=feed.most) for batch in again if batch.start not in given_up]
        self._attempt.beat()

    def _run_batches(self, claim: Claim, feed: Feed, batches: list[Batch]) -> None:
        """Until the crew has done these, and what is in the feed."""
        crew = self._start(batches)
        self._refill(crew, feed)
        while not (feed.is_empty and crew.finished):
            self._step(crew)
            if time.monotonic() - self._looked >= self._claimer.look:
                self._look(crew, claim, feed)
            self._refill(crew, feed)

    def _start(self, batches: list[Batch]) -> Crew:
        """The crew, which starts with the first claim, and after memory ran out."""
        if self._server is None:
            self._check_code()
            # Not before there is work: it imports what the Job needs.
            self._server = ForkServer(self._preload, self._attend, self._meter.check_imports)
        if self._crew is None:
            names, workers = ", ".join(self._settings.devices), self._settings.workers
            print(f"attempt {self._attempt.name}: processes on {names}, {workers} pool workers each", flush=True)
            self._crew = self._new_crew(self._settings)
            self._crew.begin(self._attempt, batches)
        elif batches:
            self._crew.extend(batches)
        return self._crew

    def _preload(self) -> None:
        preload(self._plan.job)
        prepare(Upstream.of(self._plan))

    def _check_code(self) -> None:
        """Raises AttemptFailed where the Job's files are not those of the plan: this may be hours after it was submitted."""
        if problem := refusal(self._run, self._plan):
            raise AttemptFailed(FailureKind.ERROR, problem)

    def _refill(self, crew: Crew, feed: Feed) -> None:
        enough = _WAITING * len(self._settings.devices)
        while not feed.is_empty and crew.waiting < enough:
            crew.extend(feed.take(2 * enough, self._attempt.given_up))
        self._attempt.begun = feed.begun(crew.next_row)

    def _look(self, crew: Crew, claim: Claim, feed: Feed) -> None:
        """Leaves to others what they have taken over."""
        self._looked = time.monotonic()
        row = self._claimer.taken_from(claim)
        if row is not None and feed.cut(row):
            crew.forget(Spans([(row, claim.stop)]))

    def _new_crew(self, settings: CrewSettings) -> Crew:
        assert self._server
        return Crew(settings, self._server, self._node, self._meter)

    def _step(self, crew: Crew, seconds: float = sys.maxsize) -> None:
        if crew.step([self._signals.socket], seconds):
            self._signals.drain()
        if crew.setup and not self._attempt.setup:
            self._check_code()  # again: what was imported is what was there at some moment since the first look
            self._attempt.ready(crew.setup)
        self._attend()

    def _attend(self) -> None:
        self._clock.look()
        if self._signals.stop:
            raise _Stopped
        self._stall.look(self._attempt.committed)
        self._attempt.beat_if_due()

    def _recover(self, short: MemoryShort, shortages: int) -> tuple[list[Batch], int]:
        """After memory ran out: does that batch with all else idle, see ``recover``; or raises AttemptFailed."""
        self._attempt.beat()  # if it dies of that, others know of what
        tell(short, shortages, self._settings.memory)
        # Whatever comes now, a signal too, meets no crew: `recover` ends this one, and its own.
        crew, self._crew = self._crew, None
        assert crew is not None
        failed, given_up = self._attempt.failed, self._attempt.given_up
        found = recover(crew, short, self._attempt, self._new_crew, self._step)
        if short.together > 1:
            return found
        if (self._attempt.failed, self._attempt.given_up) == (failed, given_up):
            self._settings = self._settings.fewer()  # no sample was too large: they were together
        elif short.together:
            self._most = 0  # one was, and without it as many may fit as before
        return found

    # --- the end

    def _leave(self) -> EndReason:
        if self._crew:
            self._crew.halt(max(0.4 * self._grace, self._grace - _END_SECONDS))
        is_idle = self._attempt.has_claims and not self._attempt.committed
        if self._signals.requeue and is_idle and self._is_near_its_end():
            return self._fail(FailureKind.TIMEOUT, "no batch was finished within the time limit")
        return self._end(EndReason.STOPPED, None, f"told to leave by {self._signals.name}")

    def _fail(self, kind: FailureKind, message: str) -> EndReason:
        self._close_crew()
        return self._end(EndReason.FAILED, kind, message)

    def _end(self, reason: EndReason, kind: FailureKind | None = None, message: str = "") -> EndReason:
        self._attempt.end(reason, kind, message, self._meter.usage())
        why = ": ".join(filter(None, [kind, message]))
        counts = f"{self._attempt.ok} ok, {self._attempt.failed} failed"
        shards = self._plan.table.shards_in(self._attempt.given_up)
        left = f", but shards {shards.brief()} are given up" if shards else ""
        print(f"attempt {self._attempt.name} is {reason}{left}: {counts}{why and f'; {why}'}", flush=True)
        return reason

    @property
    def is_all_done(self) -> bool:
        """Whether nothing is left of the submission, for anybody."""
        return self._claimer.all_done()

    def _close_crew(self, grace: float = 0.0) -> None:
        crew, self._crew = self._crew, None
        if crew:
            crew.close(grace, [] if self._signals.stop else [self._signals.socket])

    def finish(self) -> None:
        """The last thing of a task: children torn down, scratch folder removed."""
        self._close_crew(min(_LEAVE_GRACE, 0.1 * self._grace) if self._signals.stop else _TEARDOWN_GRACE)
        if self._server:
            self._server.close()
        self._attempt.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
