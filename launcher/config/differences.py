"""Differences: what changed between two configs, by key."""

import json
from collections.abc import Mapping
from typing import Any

from launcher.config.origins import values_of


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What changed between two ``to_mapping``, by line: ``data.shards: 64 -> 32``; missing keys are null."""
    # As JSON, which tells 1 (samples) from 1.0 (a share).
    before, after = ({".".join(map(str, path)): written(value) for path, value in values_of(one)} for one in (old, new))
    changes = ((key, before.get(key, "null"), after.get(key, "null")) for key in {**before, **after})
    return [f"{key}: {was} -> {now}" for key, was, now in changes if was != now]


def written(value: Any) -> str:
    """JSON, but text without its quotes unless it would read as something else."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value, ensure_ascii=False)
