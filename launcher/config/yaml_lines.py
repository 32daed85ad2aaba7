"""YAML with line numbers: text -> data and the line of every key; and a value as text.

Plain values are what YAML 1.2 says (core_schema.py). In the section ``slurm``, whose values sbatch gets as text, numbers stay
as they are written where they would not print back so (``0012``, ``1.10``). Repeated keys are errors.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.composer import ComposerError, MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from jobs.errors import InputError
from launcher.config.core_schema import MERGE, MOST_VALUES, NUMBERS, TEXT, core_yaml
from launcher.config.old_values import doubt

KeyPath: TypeAlias = tuple[str | int, ...]
# The section whose numbers stay as they are written.
_AS_WRITTEN: KeyPath = ("slurm",)
# Where nothing else notices that a value is of another kind than it was.
_PARAMS: KeyPath = ("job", "params")
# Text that may stand without quotes.
_PLAIN = re.compile(r"[\w./~-][\w ./~*:-]*", re.ASCII)
# Within quotes JSON leaves them as they are; YAML ends a line there, or refuses them.
_UNSAID = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """``data`` is the file's mapping; ``lines`` has the line, from 1, of each key path and list item.

    ``doubts``: what values of job.params are now, and were by the rules of before, by their paths.
    """

    data: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)
    doubts: Mapping[KeyPath, str] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int:
        """The line of the key, or of the nearest mapping around it; 1 for the document."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 1)


def read_document(path: Path) -> Document:
    """Reads a config. Raises InputError where it cannot be read, or is no YAML mapping."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the path of a config.yaml") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from None
    return parse_document(text, str(path))


def parse_document(text: str, name: str) -> Document:
    """Parses the text of the file ``name``. Raises InputError, with its line, where it is no YAML mapping."""
    yaml = core_yaml()
    try:
        root = _composed(yaml, text)
        if root is None:
            return Document({})
        if not isinstance(root, MappingNode):
            raise InputError(f"{name}:{root.start_mark.line + 1}: must be a mapping: lines of `key: value`")
        lines = _unique(_places(root), name)
        for key, value in root.value:
            if (key.value,) == _AS_WRITTEN:
                _keep_numbers(value)
        return Document(yaml.constructor.construct_document(root), lines, dict(_doubts(root, ())))
    except MarkedYAMLError as error:
        raise InputError(_describe(error, name)) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{name}:{line}: not valid YAML: control character {chr(error.character)!r}") from None
    except ValueError as error:  # an explicit tag, such as `!!int x`
        raise InputError(f"{name}: not valid YAML: {error}") from None


def _composed(yaml: YAML, text: str) -> Any:
    """The nodes of a text. U+0085, which ends a line in version 1.1 alone, would become a space."""
    if (at := text.find("\x85")) >= 0:
        raise ReaderError("", at, 0x85, "unicode", "special characters are not allowed")
    return yaml.compose(text)


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


def _places(root: Node, path: KeyPath = ()) -> Iterator[tuple[KeyPath, int]]:
    """All below a node; aliases of aliases of aliases may stand for more than any memory holds."""
    for count, place in enumerate(_walk(root, path, ())):
        if count == MOST_VALUES:
            raise ComposerError(None, None, f"more than {MOST_VALUES:,} values", root.start_mark)
        yield place


def _walk(node: Node, path: KeyPath, around: tuple[Node, ...]) -> Iterator[tuple[KeyPath, int]]:
    """Key paths and lines below a node, in the order of the file; every repeated key comes again."""
    if node in around:
        raise ComposerError(None, None, "an alias (*name) stands inside its own anchor", node.start_mark)
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if key.tag == MERGE:
                continue
            if key.tag != TEXT:
                shown = repr(key.value) if isinstance(key, ScalarNode) else "a list or mapping"
                problem = f"a key must be text, not {shown}: write it in quotes"
                raise ComposerError(None, None, problem, key.start_mark)
            below = (*path, key.value)
            yield below, key.start_mark.line + 1
            yield from _walk(value, below, (*around, node))
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1
            yield from _walk(item, (*path, index), (*around, node))


def _keep_numbers(node: Node) -> None:
    """Makes text of the numbers at a node, and below it, that would not print back as they are written."""
    if isinstance(node, MappingNode):
        for _, value in node.value:
            _keep_numbers(value)
    elif isinstance(node, SequenceNode):
        for item in node.value:
            _keep_numbers(item)
    elif node.tag in NUMBERS and not _prints_back(node.value):
        node.tag = TEXT


def _prints_back(number: str) -> bool:
    try:
        return str(int(number) if number.lstrip("+-").isdecimal() else float(number)) == number
    except ValueError:  # 0x10, .inf
        return False


def _doubts(node: Node, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Plain values below job.params that older versions, or YAML 1.1, take for something else."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            below = (*path, key.value)
            if below[:2] == _PARAMS[: len(below)]:
                yield from _doubts(value, below)
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield from _doubts(item, (*path, index))
    elif isinstance(node, ScalarNode) and not node.style and (told := doubt(node.value)):
        yield path, told


def doubt_of_value(text: str, path: KeyPath) -> str | None:
    """As for a file, of a value after ``--set``."""
    return doubt(text.strip()) if path[:2] == _PARAMS else None


def _describe(error: MarkedYAMLError, name: str) -> str:
    mark, problem = error.problem_mark or error.context_mark, error.problem
    where = name if mark is None else f"{name}:{mark.line + 1}"
    hint = ""
    if isinstance(error, MaxDepthExceededError):
        problem = "lists or mappings lie too deep in each other"
    elif problem and "'\\t'" in problem:
        hint = "; indent with spaces, not tabs"
    elif problem == "mapping values are not allowed here":
        hint = "; check the indentation, and quote text that contains ': '"
    elif problem:
        hint = _quoting(problem)
    context = f" ({error.context})" if error.context else ""
    return f"{where}: not valid YAML: {problem}{context}{hint}"


def _quoting(problem: str) -> str:
    """Patterns begin with a *, and other text with what means something in YAML."""
    begins = "*" if "undefined alias" in problem else "it" if "cannot start any token" in problem else ""
    return f"; text that begins with {begins} stands in quotes" if begins else ""


def parse_value(text: str, path: KeyPath = ()) -> Any:
    """The YAML value of a key, such as the right side of ``--set``. Raises ValueError where it is none.

    What begins with a * is text, such as a pattern: a value alone has no anchor that it could be the alias of.
    """
    if text.lstrip().startswith("*"):
        return text.strip()
    yaml = core_yaml()
    try:
        node = _composed(yaml, text)
        if not _is_whole(node, text):
            raise ValueError(
                "not all of it is a value: write text with such signs in quotes, a list as [a, b], a mapping as {a: b}"
            )
        if node is None:
            return None
        for _ in _places(node, path):
            pass
        if path[:1] == _AS_WRITTEN:
            _keep_numbers(node)
        return yaml.constructor.construct_document(node)
    except YAMLError as error:
        problem = str(getattr(error, "problem", None) or error)
        raise ValueError(f"not a YAML value: {problem}{_quoting(problem)}") from None


def _is_whole(node: Node | None, text: str) -> bool:
    """Whether a node is all of a text, as it stands there: no comment, anchor or block, and no lines that become one."""
    written = text.strip()
    if isinstance(node, ScalarNode) and not node.style:
        return str(node.value) == written
    rest = text[node.end_mark.index :] if node else ""
    return not rest.strip() and (not written or written[0] in "'\"[{")


def value_text(value: Any) -> str:
    """A value on one line, as in a config or after ``--set``: text without quotes where that reads back as the same."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and not doubt(value):
        with suppress(ValueError):
            if parse_value(value) == value:
                return value
    return _flow(value)


def _flow(value: Any) -> str:
    """JSON, which YAML reads as the same but for what it has other words for, or takes for a line break."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_flow(key)}: {_flow(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value).replace("inf", ".inf").replace("nan", ".nan")
    text = json.dumps(value, ensure_ascii=False)
    return _UNSAID.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
