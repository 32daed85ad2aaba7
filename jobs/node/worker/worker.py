"""Worker: the entry point of a pool worker, which loads the pieces that its process hands out, into its slots."""

import contextlib
import inspect
import os
from collections.abc import Awaitable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from jobs import job_folder
from jobs.errors import described
from jobs.job import Context, Job, sets_up_workers
from jobs.machine import heap, streams
from jobs.machine.kernel_kills import KernelKills
from jobs.machine.memory import go_first, limit_data
from jobs.monkey_patches import refusing_patches
from jobs.node.backend import Backend
from jobs.node.beacon import Beacon
from jobs.node.border import Border
from jobs.node.leaving import leave
from jobs.node.log import ERR, say, speak_as
from jobs.node.messages import Broken, Piece, Placed, Stop
from jobs.node.slots import SlotWriter
from jobs.node.twins import end_twin
from jobs.node.worker.loading import Loader, broken
from jobs.stacked import Stacked
from jobs.tracebacks import print_own

if TYPE_CHECKING:
    import asyncio
    import contextvars


@dataclass(frozen=True)
class ChildArguments:
    """What every child of the supervisor is started with; ``beacon`` is the number of its beacon.

    ``gpus``: those that its process has to itself, as CUDA_VISIBLE_DEVICES names them; none: it sees what the task does.
    """

    backend: Backend
    context: Context
    beacon: int
    memory: int
    sample_timeout: float
    threads: int = 1
    gpus: tuple[str, ...] = ()

    def show_gpus(self) -> None:
        """Before anything else: CUDA looks once."""
        if self.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)


def main(arguments: ChildArguments, pipe: int, beacons: int) -> None:
    """Runs until the process goes away; ``pipe`` (to it) and ``beacons`` are descriptors."""
    arguments.show_gpus()
    speak_as(arguments.context.process_index, arguments.context.worker_index)
    connection = Connection(pipe)
    heap.keep_freed()
    go_first()
    kernel_kills = KernelKills()
    limit_data(arguments.memory)
    beacon = Beacon(beacons, arguments.beacon)
    border = Border(pipe, beacon)
    made = _set_up(arguments, connection, beacon, border, kernel_kills)
    if made is None:
        return
    job, loader = made
    if not _serve(loader, arguments.backend, connection, border):
        return
    beacon.orphaned()  # in its beacon, since any exit code may be one of the user's
    if sets_up_workers(job):
        tear_down(job)
    leave()


def _set_up(
    arguments: ChildArguments, connection: Connection, beacon: Beacon, border: Border, kernel_kills: KernelKills
) -> tuple[Job, Loader] | None:
    """None where the Job could not be: that ends the attempt, and is told."""
    try:
        job = arguments.backend.job()
        with refusing_patches():
            job.setup_worker(arguments.context)
        end_twin()
        border.come_back()
        streams.fill()  # what is opened now must not be what the Job prints to
        seed, timeout = arguments.context.seed, arguments.sample_timeout
        return job, Loader(job, arguments.backend, beacon, seed, Stacked.of, timeout)
    except BaseException as error:  # whatever the Job raises, or the samples, ends the attempt: it says what
        end_twin(error)
        print_own(error)
        border.come_back()
        report_broken(connection, broken("setup_worker", error, kernel_kills))
        return None


def _serve(loader: Loader, backend: Backend, connection: Connection, border: Border) -> bool:
    """Loads what its process asks for, until that is gone; False where no sample can be read, which ends the attempt."""
    slots = SlotWriter(connection)

    def place(slot: int, batch: Any) -> Placed:
        border.come_back()
        return slots.put(slot, batch)

    # When the process is gone, so is its worker: its successor gets workers of its own.
    with contextlib.suppress(EOFError, ConnectionError):
        while isinstance(piece := connection.recv(), Piece):
            try:
                border.cross()
                loaded = loader.load(piece, place)
                if loaded.batch is None:  # else it was before that was placed
                    border.come_back((piece.start, piece.stop))
            except OSError as error:  # of the manifest, so no sample's fault
                report_broken(connection, backend.broken(error))
                return False
            connection.send(loaded)
    return True


def finish(
    found: Awaitable[None] | None,
    loop: "asyncio.AbstractEventLoop | None" = None,
    variables: "contextvars.Context | None" = None,
) -> None:
    """Waits for what may be ``async def``, in the loop, where it sets these variables; without one, in a loop of its own."""
    if not inspect.isawaitable(found):
        return
    import asyncio  # few Jobs need it

    async def wait() -> None:
        await found

    if loop:
        loop.run_until_complete(loop.create_task(wait(), context=variables))
    else:
        asyncio.run(wait())


def tear_down(job: Job, loop: "asyncio.AbstractEventLoop | None" = None) -> None:
    """Calls teardown. What it raises is told in a line: all is stored by then, and this child ends as it would."""
    try:
        finish(job.teardown(), loop)
    except BaseException as error:  # whatever the Job raises
        end_twin(error)
        place = job_folder.place(error)
        say(f"teardown() raised {described(error)}{place and f', at {place}'}", ERR)


def report_broken(connection: Connection, broken: Broken) -> None:
    """Says why this child cannot go on, and waits to be ended: the message must be read before the death is seen."""
    with contextlib.suppress(EOFError, ConnectionError):
        connection.send(broken)
        while not isinstance(connection.recv(), Stop):
            pass
