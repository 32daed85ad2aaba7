"""Nodes: where the array tasks of a run are at work, on which devices, and what they take of what they asked for. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.storage.attempts import Attempt
from launcher.runs.shard_states import Shards
from launcher.status.use import HEADS as USE_HEADS
from launcher.status.use import Use, together, use_of
from launcher.table import table_lines
from launcher.units import counted
from launcher.visible import on_one_line

HEADS = ("node", "tasks", "devices", "samples/s", *USE_HEADS, "")
NUMBERS = {"tasks", "samples/s", *USE_HEADS}


@dataclass(frozen=True)
class NodeLoad:
    """``use`` is of its array tasks together."""

    node: str
    tasks: int
    devices: str
    rate: float
    use: Use
    is_slow: bool = False

    def words(self) -> tuple[str, ...]:
        """For a table."""
        rate = f"{self.rate:,.1f}" if self.rate else ""
        slow = "slow" if self.is_slow else ""
        return (on_one_line(self.node), str(self.tasks), self.devices, rate, *self.use.words(), slow)


def live_attempts(shards: Shards) -> list[Attempt]:
    """Those that go on, by node and number."""
    found = [one for one in shards.attempts if one.name in shards.live and one.start]
    return sorted(found, key=lambda one: (one.host, one.name))


def node_loads(shards: Shards, slow: Sequence[str] = ()) -> list[NodeLoad]:
    """By name; ``slow`` are names of nodes."""
    by_node: dict[str, list[Attempt]] = {}
    for attempt in live_attempts(shards):
        by_node.setdefault(attempt.host, []).append(attempt)
    return [_load(node, attempts, node in slow) for node, attempts in by_node.items()]


def _load(node: str, attempts: Sequence[Attempt], is_slow: bool) -> NodeLoad:
    starts = [one.start for one in attempts if one.start]
    devices = told_devices([device for start in starts for device in start.devices])
    rate = sum(one.beat.rate for one in attempts)
    return NodeLoad(node, len(attempts), devices, rate, together(map(use_of, attempts)), is_slow)


def told_devices(devices: Sequence[str]) -> str:
    """``4 cuda, 2 cpu``."""
    kinds = Counter(device.partition(":")[0] for device in devices)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items(), reverse=True))


def node_lines(loads: Sequence[NodeLoad], most: int) -> Iterator[str]:
    """A table of so many of them, those that do least first."""
    shown = sorted(loads, key=lambda load: (not load.is_slow, load.rate))[:most]
    yield from table_lines(HEADS, [load.words() for load in shown], right=NUMBERS)
    if len(loads) > most:
        yield f"and {counted(len(loads) - most, 'node')} more"
