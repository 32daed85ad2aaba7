"""Halting: the last moments of a crew's processes, in which they finish the batch at hand, and what of it is good is kept."""

import time
from collections.abc import Collection

from jobs.node.messages import Allocate, Broken, Done, Halt, Halted
from jobs.node.supervisor.child import Child
from jobs.node.supervisor.children import TICK, Children
from jobs.node.supervisor.commit_log import CommitLog


def halt(children: Children, ready: Collection[int], commit_log: CommitLog, grace: float) -> None:
    """Lets those processes that are ready finish the batch at hand, for ``grace`` seconds, and commits it."""
    waiting = set(ready)
    clock = children.clock
    deadline = clock.look() + grace
    for index in waiting:
        children.processes[index].tell(Halt(grace))
    while waiting and clock.now < deadline:
        talking, dead, _ = children.wait(TICK, [])
        for child in talking:
            waiting -= _read_last(child, commit_log)
        waiting -= {child.process for child in dead if child.worker is None}
        if dead:
            time.sleep(0.01)  # the sentinel of a dead worker stays ready, and nobody replaces it now


def _read_last(child: Child, commit_log: CommitLog) -> set[int]:
    """Takes a message of a process that got Halt; returns the process once it is through."""
    message = child.receive()
    if isinstance(message, Done):
        # The signal has gone to what the Job has started, too: samples that fail now may be good ones.
        if good := [commit for commit in message.commits if not commit.failed]:
            commit_log.commit(good)
    elif isinstance(message, Allocate):
        child.tell(commit_log.allocate(message))
    return {child.process} if message is None or isinstance(message, Halted | Broken) else set()
