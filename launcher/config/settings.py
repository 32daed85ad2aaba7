"""Settings: sections of the config as they are read where there is no config: in array tasks, and by the retry policy.

They hold bytes and seconds, and the defaults of their sections.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from jobs.storage.plans import NodeSettings
from launcher.units import parse_memory, parse_time

if TYPE_CHECKING:
    from launcher.config.config import Config


@dataclass(frozen=True)
class RetrySettings:
    """How many attempts a shard gets in all, and how far its limits may grow: bytes, seconds, None without end."""

    attempts: int = 3
    memory_factor: float = 1.5
    max_memory: int | None = None
    time_factor: float = 1.5
    max_time: int | None = None
    exclude_failed_nodes: bool = True


def node_settings(config: "Config") -> NodeSettings:
    """The config's node section as array tasks read it."""
    values = _named(config.node, NodeSettings)
    memory = config.node.memory
    return NodeSettings(**{**values, "memory": None if memory is None else parse_memory(memory)})


def retry_settings(config: "Config") -> RetrySettings:
    """The config's retry section as the retry policy reads it."""
    memory, time = config.retry.max_memory, config.retry.max_time
    limits = {
        "max_memory": None if memory is None else parse_memory(memory),
        "max_time": None if time is None else parse_time(time),
    }
    return RetrySettings(**{**_named(config.retry, RetrySettings), **limits})


def _named(section: object, settings: type[Any]) -> dict[str, Any]:
    """What the section says under the names that the settings have."""
    return {field.name: getattr(section, field.name) for field in fields(settings)}
