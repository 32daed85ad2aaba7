"""MainSource: the text of the script that runs, or of the cells that were run in a notebook, and what it defines."""

import ast
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import Any, TypeAlias

from jobs.errors import InputError

Definition: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_OWN_NAMES = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)
_SCOPES = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Binding:
    """A statement that may have given a name its value; ``position`` orders them all, ``text`` is its source.

    ``beside``: the imports that it is compiled with. Python 3.11 and later call what is an attribute of an imported name by
    other instructions; a notebook compiles each statement by itself.
    """

    statement: ast.stmt
    position: int
    text: str
    beside: tuple[ast.stmt, ...] = ()

    @property
    def lines(self) -> range:
        """Those that it has in the script or cell, with its decorators."""
        return range(_first_line(self.statement), (self.statement.end_lineno or 0) + 1)

    def compiled(self, file: str, flags: int) -> CodeType:
        """The text as code, which says that it stands where the statement does."""
        tree = ast.increment_lineno(ast.parse(self.text), self.lines.start - 1)
        if self.beside:  # and not run
            tree.body.append(ast.If(ast.Constant(False), list(self.beside), []))
            ast.fix_missing_locations(tree)
        code: CodeType = compile(tree, file, "exec", flags, dont_inherit=True)
        return code


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
            except (SyntaxError, ValueError):  # a null byte
                continue
            lines = re.split(r"\r\n|\r|\n", piece)  # as Python counts them: a form feed ends none
            every = list(_top_level(tree.body))
            imports = tuple(
                one for one in every if isinstance(one, ast.Import | ast.ImportFrom) and not _is_future(one)
            )
            for statement in every:
                found.append(Binding(statement, len(found), _text_of(statement, lines), imports))
        return found

    @cached_property
    def _by_name(self) -> dict[str, list[Binding]]:
        found: dict[str, list[Binding]] = {}
        for one in reversed(self.statements):
            for name in _bound(one.statement):
                found.setdefault(name, []).append(one)
        return found

    def bindings(self, name: str) -> Sequence[Binding]:
        """All that bind a name, the last one first: which of them did is not to be seen in the text."""
        return self._by_name.get(name, ())

    @property
    def has_later_annotations(self) -> bool:
        """Whether annotations are text (``from __future__ import annotations``)."""
        return any(_is_future(one.statement) for one in self.bindings("annotations"))


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


def _text_of(statement: ast.stmt, lines: Sequence[str]) -> str:
    """Its lines as they are written, comments and decorators too; else, as below an ``if``, what means the same."""
    text = "\n".join(lines[_first_line(statement) - 1 : statement.end_lineno])
    if not statement.col_offset:
        with suppress(SyntaxError, ValueError):
            if ast.dump(ast.Module([statement], [])) == ast.dump(ast.parse(text)):
                return text
    return ast.unparse(statement)


def _first_line(statement: ast.stmt) -> int:
    decorators: Sequence[ast.expr] = getattr(statement, "decorator_list", ())
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


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
