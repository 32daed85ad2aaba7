"""Settings: sections of the config as they are read where there is no config: in array tasks, and by the retry policy.

They hold bytes and seconds, and the defaults of their sections.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from jobs.storage.submission import NodeSettings, Resources
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
    values = {field.name: getattr(config.node, field.name) for field in fields(NodeSettings)}
    memory = config.node.memory
    return NodeSettings(**{**values, "memory": None if memory is None else parse_memory(memory)})


def result_settings(config: "Config") -> dict[str, Any]:
    """Where the result goes, and in which form: fields of Resources."""
    form = config.result_form
    return {"output": str(config.output_path) if config.output_path else None, **vars(form)}


def retry_settings(resources: Resources) -> RetrySettings:
    """The retry section of the config that a submission was made with, as the retry policy reads it.

    Whatever executor ends the submission reads it here, so that a key of the section means the same for all.
    """
    section = (resources.config or {}).get("retry", {"attempts": resources.attempts})
    known = {field.name: section[field.name] for field in fields(RetrySettings) if field.name in section}
    for name, parse in (("max_memory", parse_memory), ("max_time", parse_time)):
        if known.get(name) is not None:
            known[name] = parse(str(known[name]))
    return RetrySettings(**known)
