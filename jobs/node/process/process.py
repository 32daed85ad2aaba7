"""Process: the entry point of a device process: sets up the Job, and brings together who talks and who runs it."""

import contextlib
import inspect
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Protocol

from jobs.exit_codes import STOPPED
from jobs.job import Job, takes_samples
from jobs.machine import heap, streams, threads
from jobs.machine.kernel_kills import KernelKills
from jobs.machine.late_imports import after_import
from jobs.machine.memory import go_first
from jobs.monkey_patches import refusing_patches
from jobs.node.beacon import Beacon
from jobs.node.border import Border
from jobs.node.leaving import leave, leave_soon
from jobs.node.log import speak_as
from jobs.node.memory_errors import broken_process
from jobs.node.messages import Broken, Lost, Ready
from jobs.node.process.arguments import ProcessArguments
from jobs.node.process.job_runner import JobRunner
from jobs.node.process.messenger import Messenger
from jobs.node.process.pool import Inline, PieceSource, Pool
from jobs.node.transfer import transfer_to
from jobs.node.twins import end_twin
from jobs.node.worker.loading import Loader, broken, is_known, know_loss
from jobs.node.worker.worker import report_broken, tear_down
from jobs.stacked import stack_now
from jobs.tracebacks import print_own


def main(arguments: ProcessArguments, pipe: int, beacons: int) -> None:
    """Runs until the supervisor says Stop or goes away; ``pipe`` (to it) and ``beacons`` are descriptors."""
    arguments.child.show_gpus()
    speak_as(arguments.child.context.process_index, None)
    know_loss(arguments.lost_for)
    connection = Connection(pipe)
    heap.keep_freed()
    go_first()
    kernel_kills = KernelKills()
    threads.use(arguments.child.threads)
    beacon = Beacon(beacons, arguments.child.beacon)
    border = Border(pipe, beacon)
    is_set_up = False
    try:
        job = arguments.child.backend.job()
        with refusing_patches():
            if not arguments.workers:
                job.setup_worker(arguments.child.context)
            use_device_of_torch(arguments.child.context.device)
            begin = _begin_with_samples if takes_samples(type(job)) else _begin
            go_on = begin(job, arguments, connection, beacon, border)
        end_twin()
        border.come_back()
        streams.fill()  # the data file must not be what the Job prints to
        is_set_up = True
        process = go_on()
    except BaseException as error:  # whatever the Job raises, or the samples, ends the attempt: it says what
        end_twin(error)
        if is_set_up and isinstance(error, OSError):  # of the run directory, as below: no fault of the Job's
            report_broken(connection, arguments.child.backend.broken(error))
        else:
            found = broken("setup", error, kernel_kills)
            if not is_known(found.message):
                print_own(error)
            border.come_back()
            _report(connection, error, found)
        return
    process.run()


def _report(connection: Connection, error: BaseException, found: Broken) -> None:
    """Says why there is no set-up; where what the Job needs is gone, as it says, that may be back for another process."""
    if broken_process(error):
        with contextlib.suppress(ConnectionError):
            connection.send(Lost(found.message, (), found.kind))
        leave_soon(STOPPED)
    else:
        report_broken(connection, found)


class _Runs(Protocol):
    def run(self) -> None: ...


_Begun = Callable[[], _Runs]
"""Makes what the process does, once its Job is set up; raises OSError where samples cannot be read."""


def _begin(job: Job, arguments: ProcessArguments, connection: Connection, beacon: Beacon, border: Border) -> _Begun:
    if inspect.isawaitable(job.setup(arguments.child.context)):
        raise TypeError("setup is `async def`, which goes with process_sample only")
    return lambda: _Process(arguments, connection, beacon, border, job)


def _begin_with_samples(
    job: Job, arguments: ProcessArguments, connection: Connection, beacon: Beacon, border: Border
) -> _Begun:
    # asyncio takes a while to import, and few Jobs need it.
    from jobs.node.process.sample_process import begin

    return begin(job, arguments, connection, beacon, border)


def use_device_of_torch(device: str) -> None:
    """Makes it this thread's, now or as soon as the Job imports torch."""
    if device.startswith("cuda"):
        after_import("torch", lambda: use_device(device))


def use_device(device: str) -> None:
    """Makes it this thread's; raises RuntimeError where it cannot be used."""
    if not device.startswith("cuda") or "torch" not in sys.modules:
        return
    try:
        sys.modules["torch"].cuda.set_device(device)
    except RuntimeError as error:
        if "forked subprocess" not in str(error):
            raise
        # torch's advice, to spawn processes, is not for users to follow: theirs are forked, ready with all imports.
        raise RuntimeError(
            f"{device} cannot be used: the Job's module, or one that it imports, uses CUDA when it is imported; "
            "use it in setup() and later only"
        ) from error


class _Process:
    """A messenger and a runner: in one thread, unless there is a GPU to wait for, or the runner is seen to wait."""

    def __init__(
        self, arguments: ProcessArguments, connection: Connection, beacon: Beacon, border: Border, job: Job
    ) -> None:
        child = arguments.child
        self._backend = child.backend
        self._connection = connection
        self._device = child.context.device
        self._job = job
        self._runner = JobRunner(job, child.backend, beacon, border, child.context.seed)
        source: PieceSource
        transfer = transfer_to(self._device)
        if arguments.workers:
            source = Pool(connection.send, transfer, arguments.memory, poison=arguments.poison)
        else:
            loader = Loader(job, child.backend, beacon, child.context.seed, stack_now, child.sample_timeout)
            source = Inline(loader, transfer)
        self._messenger = Messenger(connection, child.backend, child.context.process_index, source, self._runner)
        self._has_ended = False

    def run(self) -> None:
        """Returns when the process is to end."""
        self._connection.send(Ready())
        if not self._device.startswith("cuda"):
            self._talk(until=lambda: self._runner.waits)
        if not self._has_ended:
            self._runner.leave_to_main_thread()
            threading.Thread(target=self._talk_beside, name="messenger", daemon=True).start()
            self._runner.run()
        if self._messenger.is_lost:
            leave_soon(STOPPED)
            tear_down(self._job)
            os._exit(STOPPED)
        if self._messenger.must_leave:
            tear_down(self._job)
            leave()
        elif not self._has_ended:
            sys.exit(os.EX_SOFTWARE)  # the log has the traceback of the messenger's thread

    def _talk(self, until: Callable[[], bool]) -> None:
        """Until ``until`` says so, or the process is to end."""
        try:
            self._messenger.run(until)
            self._has_ended = self._messenger.must_leave
        except OSError as error:  # of the run directory, mostly: no sample's fault
            report_broken(self._connection, self._backend.broken(error))
            self._has_ended = True
        except MemoryError as error:  # for results of samples that are all done: more of it is all that helps
            report_broken(self._connection, broken("storing results", error, KernelKills()))
            self._has_ended = True

    def _talk_beside(self) -> None:
        try:
            use_device(self._device)  # which is a thread's own
            self._talk(until=lambda: False)
        finally:
            self._runner.end()
