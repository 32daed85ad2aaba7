"""SampleProcess: a device process whose Job takes samples one by one: messenger and runner in one event loop."""

import asyncio
import contextvars
import inspect
import os
from collections.abc import Callable
from multiprocessing.connection import Connection

from jobs.exit_codes import STOPPED
from jobs.job import Job
from jobs.node.beacon import Beacon, InFlight
from jobs.node.border import Border
from jobs.node.leaving import leave, leave_soon
from jobs.node.messages import Broken, Lost
from jobs.node.process.arguments import ProcessArguments
from jobs.node.process.pool import Inline, PieceSource, Pool
from jobs.node.process.sample_messenger import SampleMessenger
from jobs.node.process.sample_runner import SampleRunner
from jobs.node.transfer import Stay
from jobs.node.worker.loading import Loader
from jobs.node.worker.worker import finish, report_broken, tear_down
from jobs.stacked import stack_now

# What samples that are given up get to clean up, seconds.
_CLEAN_UP = 0.5


def begin(
    job: Job, arguments: ProcessArguments, connection: Connection, beacon: Beacon, border: Border
) -> "Callable[[], SampleProcess]":
    """Sets up the Job, in the loop that its samples will run in; what it sets of context variables, each of them has."""
    if not arguments.workers and inspect.iscoroutinefunction(job.load):
        raise TypeError("load is `async def`: with process_sample it needs pool workers (node.workers: 1 or more)")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    variables = contextvars.copy_context()
    finish(variables.run(job.setup, arguments.child.context), loop, variables)
    return lambda: SampleProcess(job, arguments, connection, beacon, border, loop, variables)


class SampleProcess:
    """``run`` returns when the process is to end."""

    def __init__(
        self,
        job: Job,
        arguments: ProcessArguments,
        connection: Connection,
        beacon: Beacon,
        border: Border,
        loop: asyncio.AbstractEventLoop,
        variables: contextvars.Context,
    ) -> None:
        child, context = arguments.child, arguments.child.context
        self._job = job
        self._connection = connection
        self._loop = loop
        self._variables = variables
        source: PieceSource
        if arguments.workers:
            source = Pool(connection.send, Stay(), arguments.memory)
        else:
            loader = Loader(job, child.backend, beacon, context.seed, stack_now, child.sample_timeout)
            source = Inline(loader, Stay())
        self._source = source
        self._messenger = SampleMessenger(
            connection, child.backend, context.process_index, source, context.in_flight, arguments.memory, border, loop
        )
        table = InFlight(beacon.descriptor, arguments.table)
        self._runner = SampleRunner(
            job,
            child.backend,
            table,
            loop,
            context.seed,
            context.in_flight,
            child.sample_timeout,
            self._messenger.on_outcome,
            variables,
        )

    def run(self) -> None:
        """Until the supervisor says Stop or goes away, or the process can do no more."""
        self._messenger.start(self._runner)
        while self._messenger.ended is None:  # a Job may stop the loop, as it would one of its own
            self._loop.run_forever()
        ended = self._messenger.ended
        self._source.stop()  # the workers follow as their pipes close
        if isinstance(ended, Broken):
            report_broken(self._connection, ended)
            return
        if isinstance(ended, Lost):
            leave_soon(STOPPED)
        self._loop.run_until_complete(self._runner.end(_CLEAN_UP))
        self._variables.run(tear_down, self._job, self._loop)
        if isinstance(ended, Lost):
            os._exit(STOPPED)
        leave()
