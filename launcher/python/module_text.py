"""ModuleText: the source of a module that holds a class or function of a script or notebook, and all that it uses of it.

Nothing of it is pickled and nothing run: definitions are taken as they are written, imports too, and other names by their
values, where these can be written down.
"""

import ast
import symtable
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import resolve_name
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, TypeGuard

from jobs.errors import InputError
from launcher.python.main_source import Binding, Definition, MainSource

# Of a value, written as Python; more of it is data.
_MOST_CHARACTERS = 10_000
_MISSING = object()
# Its own each; but __file__ stays the script's: what lies beside that is meant.
_OF_EVERY_MODULE = {"__builtins__", "__doc__", "__loader__", "__name__", "__package__", "__spec__"}
# What an expression may be made of that means the same in another process: it calls nothing.
_CONSTANT = (
    ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.BinOp, ast.UnaryOp,
    ast.operator, ast.unaryop, ast.expr_context, ast.Slice,
)  # fmt: skip
_WAYS_ON = "make it in setup(), pass it as an argument of the Job, or put it into a module that is imported"


def module_text(thing: type | FunctionType, source: MainSource) -> str:
    """Raises InputError, with the name, for what cannot be had in another process."""
    found = _Collector(source, vars(sys.modules["__main__"]))
    found.define(thing.__name__, thing, thing.__name__)
    name = "".join(
        letter if letter.isprintable() and letter not in '"\\' else "_" for letter in Path(source.title).name
    )
    return found.text(f"{thing.__name__} of {name}, and what it uses there; written by launcher.plan.")


@dataclass
class _Collector:
    source: MainSource
    namespace: Mapping[str, Any]
    imports: dict[str, None] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, Binding] = field(default_factory=dict)
    # What must be there before a definition is run: its bases, decorators and defaults.
    needed: dict[str, set[str]] = field(default_factory=dict)

    def define(self, name: str, thing: Any, user: str) -> None:
        """Takes a class or function in, and what it uses."""
        binding = self.source.bindings.get(name)
        if binding is None or not isinstance(binding.statement, Definition) or self.namespace.get(name) is not thing:
            raise self._refusal(name, thing, user)
        self.definitions[name] = binding
        at_once, later = _names(binding.text)
        self.needed[name] = at_once
        for used in sorted(at_once | later):
            self._take(used, name)

    def _take(self, name: str, user: str) -> None:
        value = self.namespace.get(name, _MISSING)
        if name in self.definitions or name in self.values or value is _MISSING or name in _OF_EVERY_MODULE:
            return  # one that is not there is Python's own, or raises NameError here, too
        binding = self.source.bindings.get(name)
        statement = binding.statement if binding else None
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self.imports.update(dict.fromkeys(self._imports(name, statement)))
        elif isinstance(statement, Definition):
            self.define(name, value, user)
        elif (text := _literal(value)) is not None:
            self.values[name] = f"{name} = {text}"
        elif binding and isinstance(statement, ast.Assign | ast.AnnAssign) and _is_constant(statement.value):
            self.definitions[name] = binding
            self.needed[name] = {node.id for node in ast.walk(statement.value) if isinstance(node, ast.Name)}
            for inner in sorted(self.needed[name]):
                self._take(inner, name)
        elif isinstance(value, ModuleType):
            self.imports[f"import {value.__name__} as {name}"] = None
        elif (module := self._starred(name, value)) is not None:
            self.imports[f"from {module} import {name}"] = None
        else:
            raise self._refusal(name, value, user)

    def _imports(self, name: str, statement: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(statement, ast.ImportFrom):
            package = vars(sys.modules["__main__"]).get("__package__") or ""
            module = (
                resolve_name("." * statement.level + (statement.module or ""), package)
                if statement.level
                else statement.module
            )
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    yield f"from {module} import {ast.unparse(alias)}"
            return
        for one in self.source.imports_of(name):
            for alias in one.names:
                if (alias.asname or alias.name.partition(".")[0]) == name:
                    yield f"import {ast.unparse(alias)}"

    def _starred(self, name: str, value: Any) -> str | None:
        """The module of which ``import *`` brought the name."""
        for one in self.source.statements:
            if isinstance(one.statement, ast.ImportFrom) and one.statement.names[0].name == "*":
                module = sys.modules.get(one.statement.module or "")
                if getattr(module, name, _MISSING) is value:
                    return one.statement.module
        return None

    def _refusal(self, name: str, value: Any, user: str) -> InputError:
        what, where = f"{user} uses {name}, " if user != name else f"{name}: ", self.source.title
        if getattr(value, "__name__", "") == "<lambda>":
            return InputError(f"{what}a lambda of {where}, which no other process has: write it with def")
        if "<locals>" in getattr(value, "__qualname__", ""):
            return InputError(f"{what}which is defined inside a function: define it at the top level of a file or cell")
        if self.namespace.get(name, value) is not value:
            return InputError(f"{what}which {where} has defined anew since this one was made: make it again")
        if isinstance(value, FunctionType | type) and value.__module__ == "__main__":
            return InputError(
                f"{what}whose source is not to be found in {where}: write it with def or class at the top level, in a cell "
                "without %%magic"
            )
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        return InputError(f"{what}a {kind} of {where}, which no other process has: {_WAYS_ON}")

    def text(self, title: str) -> str:
        future = ["from __future__ import annotations"] if self.source.has_later_annotations else []
        heads = [f'"""{title}"""', "\n".join(future), "\n".join(sorted(self.imports)), "\n".join(self.values.values())]
        return "\n\n".join(filter(None, heads)) + "".join(f"\n\n\n{one.text}" for one in self._in_order()) + "\n"

    def _in_order(self) -> list[Binding]:
        """As they were written, but each after what it needs at once."""
        done: dict[str, Binding] = {}

        def put(name: str) -> None:
            if name in self.definitions and name not in seen:
                seen.add(name)
                for other in sorted(self.needed[name] & self.definitions.keys(), key=place):
                    put(other)
                done[name] = self.definitions[name]

        seen, place = set[str](), lambda name: self.definitions[name].position
        for name in sorted(self.definitions, key=place):
            put(name)
        return list(done.values())


def _names(text: str) -> tuple[set[str], set[str]]:
    """The global names that a definition uses when it is run itself, and those that it uses when it is called."""
    top = symtable.symtable(text, "<source>", "exec")
    at_once, later = set[str](), set[str]()

    def look(table: symtable.SymbolTable, into: set[str]) -> None:
        into.update(one.get_name() for one in table.get_symbols() if one.is_global() and one.is_referenced())
        for child in table.get_children():
            look(child, at_once if child.get_type() == "class" and into is at_once else later)

    look(top, at_once)
    return at_once, later - at_once


def _literal(value: Any) -> str | None:
    """A plain value as Python writes it, where that reads back as the same."""
    if not isinstance(value, bool | int | float | complex | str | bytes | tuple | list | dict | None):
        return None
    text = repr(value)
    try:
        is_same = len(text) <= _MOST_CHARACTERS and repr(ast.literal_eval(text)) == text
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return text if is_same else None


def _is_constant(expression: ast.expr | None) -> TypeGuard[ast.expr]:
    return expression is not None and all(isinstance(node, _CONSTANT) for node in ast.walk(expression))
