"""Includes: the configs that a config names in ``include``; what they say holds where it says nothing.

An included config may include others, which are below it; of several the later one counts. Sections, ``job.params`` and
``slurm.finalize`` are merged by key, all other values are taken as a whole. Paths in one start in its own folder.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.errors import InputError
from launcher.config.origins import spelled
from launcher.config.profiles import Setting, is_over
from launcher.config.variables import expand, moved
from launcher.config.yaml_lines import Document, KeyPath, read_document

KEY = "include"
# Of these a config says one.
_EITHER: tuple[KeyPath, ...] = (("data", "shards"), ("data", "samples_per_shard"))
_MERGED: tuple[KeyPath, ...] = (("job", "params"), ("slurm", "finalize"))


@dataclass
class Includes:
    """What included configs say, by key, and what of it may not mean what it meant."""

    settings: dict[KeyPath, Setting] = field(default_factory=dict)
    doubts: dict[KeyPath, str] = field(default_factory=dict)


def read_includes(document: Document, path: Path) -> Includes:
    """Those of a config, and all that they include. Raises InputError, with file and line, for what is wrong with one."""
    found = Includes()
    start = None if "folder" in document.data else Path(os.path.abspath(path)).parent
    _add(found, document, path, start, (path,))
    for own, value in _values(document.data):
        _drop(found, spelled(own), value)
    return found


def _add(found: Includes, document: Document, path: Path, start: Path | None, chain: tuple[Path, ...]) -> None:
    """Adds what a file includes, the farthest first."""
    for name, place in _named(document, path):
        known = [one for one in chain if os.path.realpath(one) == os.path.realpath(name)]
        if known:
            raise InputError(f"{place}: include: a circle: {' includes '.join(map(str, [*chain, name]))}")
        if not name.is_file():
            raise InputError(f"{place}: include: no such file: {name}")
        included = read_document(name)
        if "folder" in included.data:
            line = included.line(("folder",))
            raise InputError(
                f"{name}:{line}: folder: cannot stand in an included config: set it in the one that includes it"
            )
        _add(found, included, name, start, (*chain, name))
        _put(found, included, name, start)


def _put(found: Includes, included: Document, name: Path, start: Path | None) -> None:
    # From where relative paths start to the included file's folder; absolute where they start somewhere of its own.
    folder = os.path.abspath(name.parent)
    way = folder if start is None else os.path.relpath(folder, start)
    for written, value in _values(moved(included.data, way)):
        path = spelled(written)
        _drop(found, path, value)
        found.settings[path] = Setting(value, f"{name}:{included.line(written)}")
        found.doubts.update({inner: doubt for inner, doubt in included.doubts.items() if inner[: len(path)] == path})


def _drop(found: Includes, path: KeyPath, value: Any) -> None:
    """Takes out what a nearer value leaves nothing of."""
    gone = [known for known in found.settings if is_over(path, value, known) or {path, known} == set(_EITHER)]
    for known in gone:
        if value is not None or known == path:
            del found.settings[known]
            found.doubts = {inner: doubt for inner, doubt in found.doubts.items() if inner[: len(known)] != known}


def _named(document: Document, path: Path) -> Iterator[tuple[Path, str]]:
    """The files that a config includes, each with the place that says so."""
    named = document.data.get(KEY) or []
    texts = [named] if isinstance(named, str) else named
    for index, text in enumerate(texts if isinstance(texts, list) else [texts]):
        place = f"{path}:{document.line((KEY, index))}"
        if not isinstance(text, str) or not text:
            raise InputError(f"{place}: include: must be the path of a config, or a list of these, not {text!r}")
        try:
            yield Path(os.path.normpath(path.parent / expand(text))), place
        except ValueError as error:
            raise InputError(f"{place}: include: {error}") from None


def _values(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Any]]:
    """The values that are taken as a whole, by their keys; an empty section says nothing."""
    for key, section in data.items():
        if key == KEY:
            continue
        if not isinstance(section, dict):
            if section is not None:
                yield (key,), section
            continue
        for name, value in section.items():
            if (key, name) in _MERGED and isinstance(value, dict):
                yield from (((key, name, inner), item) for inner, item in value.items())
            else:
                yield (key, name), value
