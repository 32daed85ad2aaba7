"""Differences: what changed between two configs, by key."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from launcher.config.origins import values_of
from launcher.config.yaml_lines import KeyPath

_PARAMS, _LEFT_OUT = "job.params.", "left out"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What changed between two ``to_mapping``, by line: ``data.shards: 64 -> 32``; missing keys are null.

    But a param that is null is another one than one that is left out, which has its default.
    """
    before, after = _by_key(old), _by_key(new)
    changes = []
    for key in {**before, **after}:
        was, now = before.get(key, "null"), after.get(key, "null")
        if was == now and key.startswith(_PARAMS):
            was, now = (was if key in before else _LEFT_OUT), (now if key in after else _LEFT_OUT)
        if was != now and not (_is_within(key, before) or _is_within(key, after)):
            changes.append(f"{key}: {was} -> {now}")
    return changes


def _by_key(data: Mapping[str, Any]) -> dict[str, str]:
    """As JSON, which tells 1 (samples) from 1.0 (a share); also mappings without keys."""
    found = {".".join(map(str, path)): written(value) for path, value in values_of(data)}
    return found | {".".join(map(str, path)): "{}" for path in _empty(data)}


def _empty(data: Mapping[str, Any], above: KeyPath = ()) -> Iterator[KeyPath]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _empty(value, (*above, key)) if value else [(*above, key)]


def _is_within(key: str, others: Mapping[str, str]) -> bool:
    """Whether it is an empty mapping that has keys on the other side: these tell it."""
    return any(other.startswith(f"{key}.") for other in others)


def written(value: Any) -> str:
    """JSON, but text without its quotes unless it would read as something else."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value, ensure_ascii=False)
