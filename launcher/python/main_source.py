"""MainSource: the text of the script that runs, or of the cells that were run in a notebook, and what it defines."""

import ast
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from jobs.errors import InputError

Definition: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_OWN_NAMES = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)
_SCOPES = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Binding:
    """The last statement that gives a name of ``__main__`` its value; ``position`` orders them all, ``text`` is its source."""

    statement: ast.stmt
    position: int
    text: str


@dataclass(frozen=True)
class MainSource:
    """``title`` is how messages call it, ``pieces`` the text of the script, or of the cells in the order they were run in."""

    title: str
    stem: str
    pieces: tuple[str, ...]

    @classmethod
    def find(cls) -> "MainSource":
        """Raises InputError where it has none, as at Python's prompt."""
        main = sys.modules["__main__"]
        if (shell := notebook_shell()) is not None and shell.user_ns is vars(main):  # and not what it %runs
            return cls("this notebook", "notebook", tuple(map(str, shell.user_ns.get("In", ()))))
        path = getattr(main, "__file__", None)
        if not path or not Path(path).is_file():
            raise InputError(
                "what is defined at a prompt, or by python -c, has no source: put it into a file, or a notebook"
            )
        with tokenize.open(path) as file:
            return cls(path, Path(path).stem, (file.read(),))

    @cached_property
    def statements(self) -> list[Binding]:
        """Those of the top level, also inside of ``if``, ``try`` and ``with``; a cell that is no Python has none."""
        found: list[Binding] = []
        for piece in self.pieces:
            try:
                tree = ast.parse(piece)
            except SyntaxError:
                continue
            for statement in _top_level(tree.body):
                found.append(Binding(statement, len(found), _text_of(statement, piece)))
        return found

    @cached_property
    def bindings(self) -> dict[str, Binding]:
        """The last one of each name."""
        return {name: one for one in self.statements for name in _bound(one.statement)}

    def imports_of(self, name: str) -> list[ast.Import]:
        """All ``import name.of.module``: each of them may load another one."""
        found = (one.statement for one in self.statements)
        return [statement for statement in found if isinstance(statement, ast.Import) and name in _bound(statement)]

    @property
    def has_later_annotations(self) -> bool:
        """Whether annotations are text (``from __future__ import annotations``)."""
        return "annotations" in self.bindings and _is_future(self.bindings["annotations"].statement)


def notebook_shell() -> Any:
    """IPython's shell, where this is a notebook or its prompt; else None."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _is_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _top_level(statements: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in statements:
        yield statement
        if not isinstance(statement, _SCOPES):
            for field in ("body", "handlers", "orelse", "finalbody"):
                for inner in getattr(statement, field, ()):
                    yield from _top_level(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])


def _text_of(statement: ast.stmt, piece: str) -> str:
    """Its lines as they are written, comments and decorators too, with the indentation of the top level."""
    decorators = getattr(statement, "decorator_list", ())
    first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
    lines = piece.splitlines()[first - 1 : statement.end_lineno]
    return "\n".join(lines) if not statement.col_offset else ast.unparse(statement)


def _bound(statement: ast.stmt) -> set[str]:
    """The names that a statement binds itself."""
    match statement:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return {statement.name}
        case ast.Import() | ast.ImportFrom():
            return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
    return {node.id for node in _own_nodes(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Those of a statement, not of statements in it (which bind by themselves), nor of what has names of its own."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.stmt, ast.ExceptHandler, *_OWN_NAMES)):
            yield child
            yield from _own_nodes(child)
