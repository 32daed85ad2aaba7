"""Remedies: what the next attempt at a failed shard gets, within the retry policy. Pure; used by finalize.

Memory grows only after OUT_OF_MEMORY, time only after TIMEOUT without progress, and a node is avoided only after it failed
or could not start a task. Shards that need different things go into different submissions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.config.sections import RetrySection
from launcher.units import format_memory, format_time, parse_memory, parse_time

_BAD_NODE = frozenset({"NODE_FAIL", "LAUNCH"})
_MEMORY_OPTIONS = ("mem", "mem-per-cpu", "mem-per-gpu")


@dataclass(frozen=True)
class Need:
    """A shard that failed: the node it was on, and what Slurm says it had (sacct's ReqMem, Timelimit)."""

    shard: int
    node: str = ""
    memory: str = ""
    time: str = ""


def remedy(retry: RetrySection, options: Mapping[str, Any], kind: str, needs: Sequence[Need]) -> dict[str, Any] | None:
    """The sbatch options of the next attempt at shards that failed for ``kind``; None where nothing more can be given."""
    if kind == "OUT_OF_MEMORY":
        return _more_memory(retry, options, needs)
    if kind == "TIMEOUT":
        return _more_time(retry, options, needs)
    if kind in _BAD_NODE and retry.exclude_failed_nodes:
        return _without_nodes(options, needs)
    return dict(options)


def _more_memory(retry: RetrySection, options: Mapping[str, Any], needs: Sequence[Need]) -> dict[str, Any] | None:
    name = next((name for name in _MEMORY_OPTIONS if name in options), "mem")
    given = options.get(name) or _largest([need.memory for need in needs], parse_memory)
    if not given:
        return None
    old = parse_memory(str(given).rstrip("nc"))
    new = round(old * retry.memory_factor)
    if retry.max_memory is not None:
        new = min(new, parse_memory(retry.max_memory))
    return {**options, name: format_memory(new)} if new > old else None


def _more_time(retry: RetrySection, options: Mapping[str, Any], needs: Sequence[Need]) -> dict[str, Any] | None:
    given = options.get("time") or _largest([need.time for need in needs], parse_time)
    if not given:
        return None
    old = parse_time(str(given))
    new = round(old * retry.time_factor)
    if retry.max_time is not None:
        new = min(new, parse_time(retry.max_time))
    return {**options, "time": format_time(new)} if new > old else None


def _largest(texts: Sequence[str], parse: Any) -> str | None:
    """The largest of sacct's values; it writes sizes with n or c for per node or CPU, and UNLIMITED for none."""
    sizes = {}
    for text in texts:
        try:
            sizes[parse(text.rstrip("nc"))] = text
        except ValueError:
            continue
    return sizes[max(sizes)] if sizes else None


def _without_nodes(options: Mapping[str, Any], needs: Sequence[Need]) -> dict[str, Any]:
    """Excludes the nodes that failed, beside those excluded already."""
    known = options.get("exclude", [])
    known = known.split(",") if isinstance(known, str) else list(known)
    nodes = sorted({need.node for need in needs if need.node and not need.node.startswith("None")} - set(known))
    return {**options, "exclude": ",".join([*known, *nodes])} if nodes else dict(options)
