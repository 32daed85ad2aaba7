"""Sweep: runs of one config that differ in the values of some keys, ``--sweep key.sub=a,b``; each has a name of its own.

A sweep is called as its config is; its runs have what they differ in behind that name.
"""

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.errors import InputError
from launcher.config.yaml_lines import parse_value, value_text

_MOST_RUNS = 1000
_LONGEST = 40
_OWN_KEYS = ("name", "sweep", "runs")


@dataclass(frozen=True)
class Variant:
    """A run of a sweep: its name, and its values, as after ``--set``."""

    sweep: str
    name: str
    values: tuple[str, ...]

    @property
    def overrides(self) -> tuple[str, ...]:
        """All that makes it of the config."""
        return (*self.values, f"name={json.dumps(self.name)}", f"sweep={json.dumps(self.sweep)}")


@dataclass(frozen=True)
class _Axis:
    """The values of a key, each with what stands for it in a name."""

    key: str
    values: tuple[Any, ...]
    labels: tuple[str, ...]


def variants(name: str, sweeps: Sequence[str]) -> list[Variant]:
    """Those of all combinations, the last key's values next to each other. Raises InputError for what is no sweep."""
    axes = [_axis(text) for text in sweeps]
    if repeated := [axis.key for axis in axes if [other.key for other in axes].count(axis.key) > 1]:
        raise InputError(f"--sweep {repeated[0]}: is given twice; give all its values together, with commas")
    combinations = itertools.product(*(range(len(axis.values)) for axis in axes))
    found = list(itertools.islice(combinations, _MOST_RUNS + 1))
    if len(found) > _MOST_RUNS:
        raise InputError(f"--sweep: more than {_MOST_RUNS:,} runs; sweep fewer values at a time")
    return [_variant(name, axes, places) for places in found]


def _variant(name: str, axes: Sequence[_Axis], places: Sequence[int]) -> Variant:
    own = "-".join([name, *(axis.labels[place] for axis, place in zip(axes, places, strict=True))])
    values = (f"{axis.key}={value_text(axis.values[place])}" for axis, place in zip(axes, places, strict=True))
    return Variant(name, own, tuple(values))


def _axis(text: str) -> _Axis:
    key, equals, listed = text.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise InputError(f"--sweep {text}: write it as key.sub=a,b,c, such as node.batch_size=16,64")
    if path[0] in _OWN_KEYS:
        raise InputError(f"--sweep {text}: the runs of a sweep are named by their values; sweep another key")
    try:
        values = parse_value(f"[{listed}]", path)
    except ValueError as error:
        raise InputError(f"--sweep {text}: {error}") from None
    if not isinstance(values, list) or not values:
        raise InputError(f"--sweep {text}: values are written with commas between them: a,b,c")
    if len({json.dumps(value, sort_keys=True) for value in values}) < len(values):
        raise InputError(f"--sweep {text}: a value is there twice; each makes a run")
    return _Axis(".".join(path), tuple(values), _labels(values))


def _labels(values: Sequence[Any]) -> tuple[str, ...]:
    """What tells the values apart in a name: themselves, or their numbers."""
    labels = tuple(map(_label, values))
    is_plain = all(0 < len(label) <= _LONGEST for label in labels) and len(set(labels)) == len(labels)
    return labels if is_plain else tuple(str(number) for number in range(1, len(values) + 1))


def _label(value: Any) -> str:
    """A value as a part of a name, of a path its last part; empty where it is none."""
    if isinstance(value, list | dict):
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text.rstrip("/").rpartition("/")[2]).strip("-")
