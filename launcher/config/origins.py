"""Origins: where each key of a config was written: a line of the file, a ``--set``, a profile; and putting those in.

Overrides are put in first; problems are then reported with the origin of their key.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from jobs.errors import InputError
from launcher.config.sbatch_options import option_name
from launcher.config.yaml_lines import Document, KeyPath, doubt_of_value, parse_value

Problem: TypeAlias = tuple[KeyPath, str]


def values_of(data: Mapping[str, Any], above: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """The values of nested sections, by the path of their keys."""
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from values_of(value, (*above, key))
        else:
            yield (*above, key), value


def dotted(path: KeyPath) -> str:
    """``("data", "manifest", 0)`` as ``data.manifest[0]``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def spelled(path: KeyPath) -> KeyPath:
    """A key path in one spelling: options of sbatch may be written with - or _, and some have two names."""
    if path[:1] != ("slurm",):
        return path
    return ("slurm", *(option_name(str(key)).replace("-", "_") for key in path[1:]))


@dataclass(frozen=True)
class Origins:
    """Where each key was written: a line of the file, a ``--set`` of the command line, or a line of a profile.

    Configs that differ in it alone are the same, so origins compare as equal.
    """

    name: str = field(compare=False)
    document: Document = field(default=Document({}), compare=False)
    set_texts: Mapping[KeyPath, str] = field(default_factory=dict, compare=False)
    """What was written after ``--set``, by key path."""
    profiles: Mapping[KeyPath, str] = field(default_factory=dict, compare=False)
    """File and line of what profiles say, and nobody else, by key path."""
    included: Mapping[KeyPath, str] = field(default_factory=dict, compare=False)
    """The same of what only included configs say."""
    included_doubts: Mapping[KeyPath, str] = field(default_factory=dict, compare=False)

    @property
    def doubts(self) -> list[Problem]:
        """What may not mean what it meant by the rules of before; what ``--set`` has put over it counts no more."""
        written = {**self.included_doubts, **self.document.doubts}
        own = [(path, doubt) for path, doubt in written.items() if not self._is_overridden(path)]
        texts = ((path, doubt_of_value(text.partition("=")[2], path)) for path, text in self.set_texts.items())
        return [*own, *((path, doubt) for path, doubt in texts if doubt)]

    def _is_overridden(self, path: KeyPath) -> bool:
        return any(path[: len(over)] == over for over in self.set_texts)

    def report(self, problems: Sequence[Problem]) -> str:
        """All problems, a line each: those of profiles, in the order of the file, those of ``--set``; at last what is missing.

        That has no line of its own, and may be there under a name that is misspelt, which is to be seen first.
        """
        located = sorted((text.startswith("is required"), *self._located(path, text)) for path, text in problems)
        return "\n".join(message for _, _, message in located)

    def _located(self, path: KeyPath, text: str) -> tuple[int, str]:
        for set_path, words in sorted(self.set_texts.items(), key=lambda item: -len(item[0])):
            if self._is_of(path, set_path):
                inner = "" if path == set_path else f"{dotted(path)}: "
                return 2**31, f"--set {words}: {inner}{text}"
        if place := self._elsewhere(path):
            return 0, f"{place}: {dotted(path)}: {text}"
        if not self.document.lines:
            return 0, f"{self.name}: {dotted(path)}: {text}"
        line = self._line(path)
        return line, f"{self.name}:{line}: {dotted(path)}: {text}"

    def where(self, path: KeyPath) -> str | None:
        """Where a value comes from; None for a default."""
        for set_path, words in self.set_texts.items():
            if spelled(path)[: len(set_path)] == spelled(set_path):
                return f"--set {words}"
        line = next((line for known, line in self.document.lines.items() if spelled(known) == spelled(path)), None)
        return self._elsewhere(path) or (f"{self.name}:{line}" if line else None)

    def _elsewhere(self, path: KeyPath) -> str | None:
        """File and line of a key of another file, or of one that it is in; of a section that is there alone, of a key in it."""
        others = {**self.profiles, **self.included}
        known = [others.get(spelled(path[:depth])) for depth in range(len(path), 0, -1)]
        if path and path not in self.document.lines:
            known += [place for inner, place in others.items() if inner[: len(path)] == spelled(path)]
        return next(filter(None, known), None)

    def _line(self, path: KeyPath) -> int:
        """Of a key as it is written: options of sbatch may be spelt as there."""
        is_option = path[0] == "slurm" and len(path) > 1
        dashed = ("slurm", option_name(str(path[1])), *path[2:]) if is_option else path
        return self.document.line(dashed if dashed in self.document.lines else path)

    def _is_of(self, path: KeyPath, set_path: KeyPath) -> bool:
        """Whether a problem is one of that ``--set``: of what it put there, or of a section that it alone made."""
        if path[: len(set_path)] == set_path:
            return True
        written = path in self.document.lines or any(inner[: len(path)] == path for inner in self.included)
        return set_path[: len(path)] == path and not written


def apply_overrides(data: Mapping[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """The data with each ``key.sub=value`` put in, and these by their key paths. InputError names all that fail."""
    changed = copy.deepcopy(dict(data))
    texts: dict[KeyPath, str] = {}
    problems = []
    for override in overrides:
        key, equals, text = override.partition("=")
        path = tuple(key.strip().split("."))
        try:
            if not equals or not all(path):
                raise ValueError("write it as key.sub=value, such as node.workers=4")
            texts[_put(changed, path, parse_value(text, path))] = override
        except ValueError as error:
            problems.append(f"--set {override}: {error}")
    if problems:
        raise InputError("\n".join(problems))
    return changed, texts


def _put(data: dict[str, Any], path: tuple[str, ...], value: Any) -> KeyPath:
    """Sets one value, making the sections on the way; the path as it is spelled in problems comes back."""
    is_option = path[0] == "slurm" and len(path) > 1
    if is_option:
        path = ("slurm", *(key.replace("-", "_") for key in path[1:]))
    inner = data
    for depth, key in enumerate(path[:-1], start=1):
        if inner.get(key) is None:
            inner[key] = {}
        inner = inner[key]
        if not isinstance(inner, dict):
            raise ValueError(f"{dotted(path[:depth])} is {inner!r}, not a mapping with keys below it")
    if is_option:  # it may stand there with - for _
        for other in [key for key in inner if isinstance(key, str) and key.replace("-", "_") == path[-1]]:
            del inner[other]
    inner[path[-1]] = value
    return path
