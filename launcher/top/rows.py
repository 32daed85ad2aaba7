"""Rows: what the tables of a run's screen show, by key."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from launcher.status.nodes import HEADS as NODE_HEADS
from launcher.status.nodes import live_attempts, node_loads, told_devices
from launcher.status.progress import group_words
from launcher.status.shard_list import HEADS as SHARD_HEADS
from launcher.status.status import Status
from launcher.status.use import HEADS as USE_HEADS
from launcher.status.use import use_of
from launcher.units import clock_time
from launcher.visible import on_one_line, short_line

Rows: TypeAlias = Mapping[str, Sequence[str]]

# A table of more takes long to draw, and nobody reads it.
_MOST_SHARDS = 500


class Table(NamedTuple):
    """``rows`` makes them of a status; of shards those that are chosen."""

    heads: Sequence[str]
    rows: Callable[[Status, Mapping[str, bool]], Rows]


def _tasks(status: Status, _: Mapping[str, bool]) -> Rows:
    found: dict[str, Sequence[str]] = {}
    for one in live_attempts(status.shards):
        start, beat = one.start, one.beat
        assert start
        task, node, job_id = one.name.rpartition("-")[0], on_one_line(one.host), on_one_line(start.job_id or "")
        pace = f"{beat.done.count:,}", f"{beat.rate:,.1f}"
        quiet = clock_time(beat.quiet) if beat.quiet else ""
        found[one.name] = (task, node, *pace, *use_of(one).words(), told_devices(start.devices), job_id, quiet)
    return found


def _nodes(status: Status, _: Mapping[str, bool]) -> Rows:
    return {load.node: load.words() for load in node_loads(status.shards, status.laggards.nodes)}


def _shards(status: Status, chosen: Mapping[str, bool]) -> Rows:
    rows = itertools.islice(status.shard_rows(**chosen), _MOST_SHARDS)
    return {str(row.shard.shard.index): row.words() for row in rows}


def _failures(status: Status, _: Mapping[str, bool]) -> Rows:
    return {str(number): (group_words(one), short_line(one.message)) for number, one in enumerate(status.groups)}


TABLES: Mapping[str, Table] = {
    "tasks": Table(("task", "node", "samples", "samples/s", *USE_HEADS, "devices", "job id", "quiet"), _tasks),
    "nodes": Table((*NODE_HEADS[:-1], "slow"), _nodes),
    "shards": Table((*SHARD_HEADS[:-1], "why"), _shards),
    "failures": Table(("what", "message"), _failures),
}
