"""Arguments: what a device process is started with."""

from dataclasses import dataclass

from jobs.node.worker.worker import ChildArguments


@dataclass(frozen=True)
class ProcessArguments:
    """What a device process is started with, beside what every child gets; ``memory`` is its part of the task's, bytes.

    ``lost_for``: why the process before it was lost, if it was: the log has the traceback of that.
    ``poison``: batches are overwritten when they are through. ``table``: the words of its table of rows in flight.
    """

    child: ChildArguments
    workers: int
    memory: int
    poison: bool = False
    table: range = range(0)
    lost_for: str = ""
