"""YAML with line numbers: text -> data and the line of every key.

Numbers follow the YAML 1.2 core schema, so ``4:00:00`` is text (YAML 1.1: 14400) and ``1e-4`` a number (YAML
1.1: text), but for those with a leading zero: ``0012`` is a code, and text. In the section ``slurm``, whose values sbatch
gets as text, so is any other number that does not print back as it is written (``1.10``). Dates stay text; yes, no, on and
off are booleans, as PyYAML has it. Repeated keys are errors.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from jobs.errors import InputError

KeyPath: TypeAlias = tuple[str | int, ...]


_DEEPEST = 100
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """SafeLoader without base-60 numbers, numbers such as 010, and dates."""

    _depth = 0
    _merged = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Bounded: for each level PyYAML needs more of the stack, and of the time."""
        if self._depth == _DEEPEST:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "lists or mappings lie too deep in each other", mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Bounded: merges of merges of merges (<<) may stand for more than any memory holds."""
        self._merged += sum(len(one.value) for one in _merged_into(node))
        if self._merged > _MOST_PLACES:
            raise yaml.constructor.ConstructorError(None, None, f"more than {_MOST_PLACES:,} values", node.start_mark)
        super().flatten_mapping(node)


# The section whose numbers stay as they are written.
_AS_WRITTEN: KeyPath = ("slurm",)
_MOST_PLACES = 1_000_000
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag not in _NUMBER_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _NUMBER_TAGS[0], re.compile(r"[-+]?(?:0|[1-9][0-9]*)$|0x[0-9a-fA-F]+$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    _NUMBER_TAGS[1],
    re.compile(
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"
        r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 16 if text.startswith("0x") else 10)


_Loader.add_constructor(_NUMBER_TAGS[0], _integer)


@dataclass(frozen=True)
class Document:
    """``data`` is the file's mapping; ``lines`` has the line, from 1, of each key path and list item."""

    data: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int:
        """The line of the key, or of the nearest mapping around it; 1 for the document."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 1)


def parse_document(text: str, name: str) -> Document:
    """Parses the text of the file ``name``. Raises InputError, with its line, where it is no YAML mapping."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return Document({})
        if not isinstance(root, yaml.MappingNode):
            raise InputError(f"{name}:{root.start_mark.line + 1}: must be a mapping: lines of `key: value`")
        lines = _unique(_places(root), name)
        for key, value in root.value:
            if (key.value,) == _AS_WRITTEN:
                _keep_numbers(value)
        return Document(loader.construct_document(root), lines)
    except yaml.MarkedYAMLError as error:
        raise InputError(_describe(error, name)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{name}:{line}: not valid YAML: control character {chr(error.character)!r}") from None
    except ValueError as error:  # an explicit tag, such as `!!int x`
        raise InputError(f"{name}: not valid YAML: {error}") from None


def _merged_into(node: yaml.MappingNode) -> Iterator[yaml.Node]:
    """The mappings that a mapping's merge keys name."""
    for key, value in node.value:
        if key.tag == _MERGE:
            yield from value.value if isinstance(value, yaml.SequenceNode) else [value]


def _unique(keys: Iterator[tuple[KeyPath, int]], name: str) -> dict[KeyPath, int]:
    lines: dict[KeyPath, int] = {}
    problems = []
    for path, line in keys:
        if path in lines:
            repeated = ".".join(map(str, path))
            problems.append(f"{name}:{line}: {repeated}: is already in line {lines[path]}; keep one of the two")
        lines.setdefault(path, line)
    if problems:
        raise InputError("\n".join(problems))
    return lines


def _places(root: yaml.Node, path: KeyPath = ()) -> Iterator[tuple[KeyPath, int]]:
    """All below a node; aliases of aliases of aliases may stand for more than any memory holds."""
    for count, place in enumerate(_walk(root, path, ())):
        if count == _MOST_PLACES:
            raise yaml.composer.ComposerError(None, None, f"more than {_MOST_PLACES:,} values", root.start_mark)
        yield place


def _walk(node: yaml.Node, path: KeyPath, around: tuple[yaml.Node, ...]) -> Iterator[tuple[KeyPath, int]]:
    """Key paths and lines below a node, in the order of the file; every repeated key comes again."""
    if node in around:
        raise yaml.composer.ComposerError(None, None, "an alias (*name) stands inside its own anchor", node.start_mark)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag == _MERGE:
                continue
            if key.tag != "tag:yaml.org,2002:str":
                shown = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                problem = f"a key must be text, not {shown}: write it in quotes"
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            below = (*path, key.value)
            yield below, key.start_mark.line + 1
            yield from _walk(value, below, (*around, node))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1
            yield from _walk(item, (*path, index), (*around, node))


def _keep_numbers(node: yaml.Node) -> None:
    """Makes text of the numbers at a node, and below it, that would not print back as they are written."""
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            _keep_numbers(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _keep_numbers(item)
    elif node.tag in _NUMBER_TAGS and not _prints_back(node.value):
        node.tag = "tag:yaml.org,2002:str"


def _prints_back(number: str) -> bool:
    try:
        return str(int(number) if number.lstrip("+-").isdecimal() else float(number)) == number
    except ValueError:  # 0x10, .inf
        return False


def _describe(error: yaml.MarkedYAMLError, name: str) -> str:
    mark = error.problem_mark or error.context_mark
    where = name if mark is None else f"{name}:{mark.line + 1}"
    hint = ""
    if error.problem and "'\\t'" in error.problem:
        hint = "; indent with spaces, not tabs"
    elif error.problem == "mapping values are not allowed here":
        hint = "; check the indentation, and quote text that contains ': '"
    context = f" ({error.context})" if error.context else ""
    return f"{where}: not valid YAML: {error.problem}{context}{hint}"


def parse_value(text: str, path: KeyPath = ()) -> Any:
    """The YAML value of a key, such as the right side of ``--set``. Raises ValueError where it is none."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        for _ in _places(node, path):
            pass
        if path[:1] == _AS_WRITTEN:
            _keep_numbers(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(f"not a YAML value: {getattr(error, 'problem', None) or error}") from None
