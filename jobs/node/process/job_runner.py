"""JobRunner: runs the Job on pieces, one after another, in the main thread of a device process.

At first the messenger, which gives it pieces and collects what became of them, runs in the same thread, in turns. Once
process() is seen to wait (for a GPU, a service, a disk), the messenger gets a thread of its own: the device computes while
results are stored and messages travel. Where process() computes on the CPUs itself, two threads would only take them from
each other.
"""

import ctypes
import gc
import os
import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from jobs.errors import ProcessBroken, described, words
from jobs.job import Job
from jobs.kinds import SampleFailureKind
from jobs.machine.kernel_kills import KernelKills
from jobs.node.backend import Backend
from jobs.node.beacon import Beacon
from jobs.node.border import Border
from jobs.node.generators import seed_generators
from jobs.node.memory_errors import broken_process, is_device_lost
from jobs.node.messages import Loaded
from jobs.node.transfer import Arriving
from jobs.node.twins import end_twin
from jobs.node.worker.loading import failed_piece, tell_loss, untold
from jobs.storage.outputs import RowCountError
from jobs.storage.records import FailedSample

Fetch = Callable[[], tuple[Loaded, Arriving]]
"""A piece for the Job; calling it returns it loaded. Raises OSError where samples cannot be read."""

# Pieces that the runner has at a time beside the messenger: one that is processed, one that is ready.
_AHEAD = 2
# process() waits if it does so for this share of its time, looked at once it has taken so many seconds.
_WAITS = 0.5
_LOOK_SECONDS = 0.1

# Python's own lets go of the interpreter lock around it; the messenger would take it, and the device wait until it stores.
_add_to_eventfd = ctypes.PyDLL(None).eventfd_write
_add_to_eventfd.argtypes = (ctypes.c_int, ctypes.c_uint64)


class Processed(NamedTuple):
    """A piece that the Job is through with: its results, or why it failed as a whole; seconds it took.

    ``is_final``: the failure is that of each of its samples, and halves of it would say the same. ``broken``: the process can
    do no more, and nothing became of the piece.
    """

    loaded: Loaded
    results: Any
    failure: FailedSample | None
    is_final: bool
    seconds: float
    broken: ProcessBroken | None = None


class JobRunner:
    """``busy`` pieces were given and not collected; ``descriptor`` (an eventfd) tells another thread of new ones to collect."""

    def __init__(self, job: Job, backend: Backend, beacon: Beacon, border: Border, seed: int) -> None:
        self._job = job
        self._border = border
        self._backend = backend
        self._beacon = beacon
        self._seed = seed
        self._kernel_kills = KernelKills()
        self._inbox: SimpleQueue[Fetch | None] = SimpleQueue()
        self._outbox: deque[Processed | OSError] = deque()
        self._seconds = self._waited = 0.0
        self._is_alone = False
        self.busy = 0
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    @property
    def waits(self) -> bool:
        """Whether process() spends its time waiting rather than computing, as far as it has been seen."""
        return self._seconds > _LOOK_SECONDS and self._waited > _WAITS * self._seconds

    # --- called by the messenger

    @property
    def has_room(self) -> bool:
        """Whether it should have another piece. That bounds the results that wait to be stored, too."""
        return self.busy < (_AHEAD if self._is_alone else 1)

    def give(self, fetch: Fetch) -> None:
        """Processes the piece, or has the main thread do so."""
        self.busy += 1
        if self._is_alone:
            self._inbox.put(fetch)
        else:
            self._outbox.append(self._process(fetch))

    def collect(self) -> Processed | None:
        """The next piece that the Job is through with, in order; raises OSError where its samples could not be read."""
        if not self._outbox:
            return None
        processed = self._outbox.popleft()
        if isinstance(processed, OSError):
            raise processed
        self.busy -= 1
        return processed

    def take_back(self) -> None:
        """Forgets the pieces that the Job has not begun."""
        try:
            while True:
                self._inbox.get_nowait()
                self.busy -= 1
        except Empty:
            return

    def end(self) -> None:
        """``run`` returns after the piece that the Job is at."""
        self.take_back()
        self._inbox.put(None)

    # --- the main thread

    def run(self) -> None:
        """From now on pieces are processed in here; returns at ``end``."""
        is_broken = False
        while fetch := self._inbox.get():
            if is_broken:
                continue  # where a device hangs it would never end, and the messenger has yet to say that the process is lost
            processed = self._process(fetch)
            is_broken = isinstance(processed, Processed) and processed.broken is not None
            self._outbox.append(processed)
            _add_to_eventfd(self.descriptor, 1)

    def leave_to_main_thread(self) -> None:
        """From now on the messenger calls from another thread, and ``run`` is called in this one."""
        self._is_alone = True

    def _process(self, fetch: Fetch) -> Processed | OSError:
        started = time.monotonic()
        self._border.cross()
        try:
            loaded, arriving = fetch()
        except OSError as error:
            self._border.come_back()
            return error
        results, failure, is_final, broken = None, loaded.error, False, None
        if failure is None and loaded.rows:
            try:
                results, failure, is_final = self._run_job(loaded, arriving)
            except (ProcessBroken, BaseExceptionGroup) as error:
                broken = broken_process(error) or ProcessBroken(described(error))
                tell_loss(words(broken), error)
            except Exception as problem:  # what a Job raised may itself raise when it is looked at
                failure = untold(loaded.rows[0], SampleFailureKind.PROCESS, problem)
        self._border.come_back((loaded.piece.start, loaded.piece.stop))  # it may have been its load, too
        return Processed(loaded, results, failure, is_final, time.monotonic() - started, broken)

    def _run_job(self, loaded: Loaded, arriving: Arriving) -> tuple[Any, FailedSample | None, bool]:
        self._kernel_kills.tick()
        seed_generators(self._seed, loaded.piece.start)
        self._beacon.at(loaded.piece.start, loaded.piece.stop)
        stage = SampleFailureKind.LOAD
        try:
            try:
                batch = [arriving.take()]
                stage = SampleFailureKind.PROCESS
                return self._results_of(batch.pop(), len(loaded.rows)), None, False
            finally:
                arriving.processed()
        except BaseException as error:
            end_twin(error)
            if broken_process(error):
                raise
            if is_device_lost(error):
                # Nothing else helps this process; the beacon stays at the rows, for the supervisor to see.
                sys.excepthook(type(error), error, error.__traceback__)
                sys.stderr.flush()
                os._exit(os.EX_IOERR)
            self._kernel_kills.follow(error)
            if isinstance(error, RowCountError):  # a mistake of the Job's, not of one sample: halves might hide it
                return None, self._backend.failed(loaded.rows[0], stage, error), True
            failure = failed_piece(self._backend, loaded.rows, stage, error)
        finally:
            self._beacon.idle()
        if failure.kind is SampleFailureKind.OUT_OF_MEMORY and "torch" in sys.modules:
            # Here, where no part of the failed piece is referred to any more, but perhaps by errors that refer to each other.
            gc.collect()
            sys.modules["torch"].cuda.empty_cache()
        return None, failure, False

    def _results_of(self, batch: Any, rows: int) -> Any:
        # Where it is alone, the Job gets its next batch before these results are stored.
        outputs = self._job.process(batch) if self._is_alone else self._process_watched(batch)
        end_twin()
        return self._backend.results(outputs, rows, own=self._is_alone)

    def _process_watched(self, batch: Any) -> Any:
        """Runs process(), and sees whether it waits."""
        started, cpu, switches = time.monotonic(), time.process_time(), _own_switches()
        outputs = self._job.process(batch)
        seconds = time.monotonic() - started
        self._seconds += seconds
        if _own_switches() > switches:
            self._waited += seconds - (time.process_time() - cpu)
        return outputs


def _own_switches() -> int:
    """How often this thread has left the CPU because it had to wait, not because others were to have it (getrusage(2))."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
