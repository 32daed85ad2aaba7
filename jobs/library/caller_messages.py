"""Messages between the caller of a Hierarchy and its supervisor, beside those of jobs.node.messages.

The caller sends Setup, then a Batch for each slot that it has filled; the supervisor answers each with Done. Samples and
results are in the exchange, so all messages are small.
"""

from typing import NamedTuple

from jobs.storage.submission import NodeSettings


class Setup(NamedTuple):
    """Caller -> supervisor: what to start. ``modules`` are imported before anything is forked."""

    slots: int
    modules: tuple[str, ...]
    devices: tuple[str, ...]
    workers: int
    threads: tuple[int, ...]
    sample_timeout: float
    memory: int
    seed: int
    in_flight: int = NodeSettings.in_flight
    caller: int = 0
    job_size: int = 0


class Drop(NamedTuple):
    """Caller -> supervisor: what no process has of the rows before ``row`` is not wanted any more."""

    row: int


class Dropped(NamedTuple):
    """Supervisor -> caller: of the batches before ``row``, only those with these first rows will still be done."""

    row: int
    left: frozenset[int]


class Close(NamedTuple):
    """Caller -> supervisor: end all children, in order within ``grace`` seconds."""

    grace: float
