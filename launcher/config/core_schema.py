"""CoreSchema: what plain values of YAML are, as version 1.2 has it (its core schema), for reading and for writing.

So ``yes``, ``off``, ``1:30``, ``1_000`` and ``2024-01-01`` are text; ``012`` is 12, ``0o17`` 15, ``1e3`` a number. Merge keys
(``<<``) are not of that version, and are known all the same.
"""

import re
from collections.abc import Iterator, Mapping
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.representer import SafeRepresenter
from ruamel.yaml.resolver import BaseResolver

_TAG = "tag:yaml.org,2002:"
MERGE, TEXT = f"{_TAG}merge", f"{_TAG}str"
NUMBERS = (f"{_TAG}int", f"{_TAG}float")
MOST_VALUES = 1_000_000
"""In one file; also that merges of merges may stand for."""
_DEEPEST = 100
# A tag, what is of it, and the characters that this begins with.
_VALUES = (
    (f"{_TAG}null", r"(?:~|null|Null|NULL|)$", ["", *"~nN"]),
    (f"{_TAG}bool", r"(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    (f"{_TAG}int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    (
        f"{_TAG}float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
    (MERGE, r"<<$", "<"),
)


class CoreResolver(BaseResolver):
    """Says of which kind a plain value is; a directive ``%YAML 1.1`` changes nothing."""

    processing_version = (1, 2)

    def __init__(self, version: Any = None, loader: Any = None, loadumper: Any = None) -> None:
        super().__init__(loader if loadumper is None else loadumper)


for _tag, _pattern, _first in _VALUES:
    CoreResolver.add_implicit_resolver_base(_tag, re.compile(_pattern), list(_first))


_HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def _joined(halves: re.Match[str]) -> str:
    return halves[0].encode("utf-16", "surrogatepass").decode("utf-16")


class _CoreConstructor(SafeConstructor):
    """Makes plain data; numbers without the further forms of version 1.1."""

    _merged = 0

    def flatten_mapping(self, node: MappingNode) -> Any:
        """Bounded: merges of merges of merges (<<) may stand for more than any memory holds."""
        self._merged += sum(len(one.value) for one in _merged_into(node))
        if self._merged > MOST_VALUES:
            raise ConstructorError(None, None, f"more than {MOST_VALUES:,} values", node.start_mark)
        return super().flatten_mapping(node)

    def construct_scalar(self, node: ScalarNode) -> Any:
        """JSON writes what is beyond 16 bits as two halves, and is YAML."""
        value = super().construct_scalar(node)
        return _HALVES.sub(_joined, value) if isinstance(value, str) else value

    def construct_yaml_int(self, node: ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        try:
            return int(text, base)
        except ValueError:
            problem = "a number of over 4,300 digits; write it in quotes" if text.isdecimal() else "not a whole number"
            raise ConstructorError(None, None, problem, node.start_mark) from None

    def construct_yaml_float(self, node: ScalarNode) -> float:
        text = str(self.construct_scalar(node)).lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))


_CoreConstructor.add_default_constructor("int")
_CoreConstructor.add_default_constructor("float")
_CoreConstructor.add_constructor(MERGE, SafeConstructor.construct_yaml_str)  # as a value it merges nothing


class _CoreRepresenter(SafeRepresenter):
    """Writes text so that it reads back: what ends a line in version 1.1 alone is escaped."""

    def represent_str(self, data: str) -> ScalarNode:
        return self.represent_scalar(TEXT, data, style='"' if _OLD_BREAK.search(data) else None)


_OLD_BREAK = re.compile("[\x85\u2028\u2029]")
_CoreRepresenter.add_representer(str, _CoreRepresenter.represent_str)


def _merged_into(node: MappingNode) -> Iterator[Node]:
    """The mappings that a mapping's merge keys name."""
    for key, value in node.value:
        if key.tag == MERGE:
            yield from value.value if isinstance(value, SequenceNode) else [value]


def core_yaml() -> YAML:
    """Reads and writes plain data by that schema."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver, yaml.Constructor, yaml.Representer = CoreResolver, _CoreConstructor, _CoreRepresenter
    yaml.max_depth = _DEEPEST
    yaml.composer.warn_double_anchors = False
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    return yaml


def written(data: Mapping[str, Any]) -> str:
    """Data as YAML, a key a line."""
    out = StringIO()
    core_yaml().dump(data, out)
    return out.getvalue()
