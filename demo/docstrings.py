"""Collects the docstrings of Python's standard library into a manifest: short texts that every machine has.

    python -m demo.docstrings data/docstrings.csv

The source files are parsed, never imported, so the same Python version gives the same manifest everywhere.
"""

import argparse
import ast
import csv
import io
import platform
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jobs.storage.files import write_bytes

# Tests, and packages that were installed beside the standard library.
SKIPPED_FOLDERS = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages"})

Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Docstring(NamedTuple):
    """One row of the manifest; the fields are its columns."""

    id: str
    """Dotted name, such as json.decoder.JSONDecoder.decode; the second of a name gets #2."""
    path: str
    """The source file, from the folder of the standard library."""
    line: int
    """Where the definition begins, from 1."""
    text: str


def collect(library: Path) -> list[Docstring]:
    """The docstrings of modules, classes, functions and methods below a folder, in order of file and line."""
    found = [docstring for path in source_files(library) for docstring in docstrings_in(library, path)]
    seen: Counter[str] = Counter()
    for number, docstring in enumerate(found):
        seen[docstring.id] += 1
        if seen[docstring.id] > 1:
            found[number] = docstring._replace(id=f"{docstring.id}#{seen[docstring.id]}")
    return found


def source_files(library: Path) -> list[Path]:
    """The library's .py files, relative to its folder, sorted."""
    paths = (path.relative_to(library) for path in library.rglob("*.py"))
    return sorted(path for path in paths if SKIPPED_FOLDERS.isdisjoint(path.parts))


def docstrings_in(library: Path, path: Path) -> Iterator[Docstring]:
    """The docstrings of one file, in order of line; none where it is not this Python's syntax (templates)."""
    try:
        module = ast.parse((library / path).read_bytes())
    except (SyntaxError, ValueError):
        return
    name = ".".join((path.parent if path.name == "__init__.py" else path.with_suffix("")).parts)
    if text := ast.get_docstring(module):
        yield Docstring(name, path.as_posix(), 1, text)
    for inner, node in definitions(module, name):
        if text := ast.get_docstring(node):
            yield Docstring(inner, path.as_posix(), node.lineno, text)


def definitions(parent: ast.AST, name: str) -> Iterator[tuple[str, Documented]]:
    """All definitions below a node, with their dotted names."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, Documented):
            inner = f"{name}.{node.name}"
            yield inner, node
            yield from definitions(node, inner)
        else:
            yield from definitions(node, name)


def write(docstrings: Sequence[Docstring], path: Path) -> None:
    """Writes the CSV whole or not at all; a file that is right already keeps its time of change."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows([Docstring._fields, *docstrings])
    content = table.getvalue().encode()
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.docstrings", description=__doc__.partition("\n")[0])
    parser.add_argument("csv", type=Path, help="the manifest to write")
    path = parser.parse_args().csv
    docstrings = collect(Path(sysconfig.get_path("stdlib")))
    write(docstrings, path)
    print(f"{path}: {len(docstrings)} docstrings of Python {platform.python_version()}'s standard library")


if __name__ == "__main__":
    main()
