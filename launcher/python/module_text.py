"""ModuleText: the source of a module that holds a class or function of a script or notebook, and all that it uses of it.

Nothing is pickled. A name means what it holds now: values are written down; a definition, an import, another name for
something is taken from the text only where that gives what the name holds. A text does not tell which of several statements
was run, nor what was changed since: so the module is made once in this process, and compared with the session part by part.
"""

import ast
import symtable
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib.util import resolve_name
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from jobs.errors import InputError, a_type, described
from launcher.python.live_code import fitting, flags_of, own_code
from launcher.python.main_source import Binding, MainSource
from launcher.python.sameness import Sameness

# Of a value, written as Python; more of it is data.
_MOST_CHARACTERS = 10_000
_MISSING = object()
# Its own each; but __file__ and __doc__ stay the script's: those are meant.
_OF_EVERY_MODULE = {"__builtins__", "__loader__", "__name__", "__package__", "__spec__"}
_WRITTEN = (bool, int, float, complex, str, bytes, type(None))
_CONTAINERS = (list, tuple, dict, set)
# What an expression may be made of that means the same in another process: it calls nothing.
_CONSTANT = (
    ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.BinOp, ast.UnaryOp,
    ast.operator, ast.unaryop, ast.expr_context, ast.Slice,
)  # fmt: skip
_UNEVALUABLE = (NameError, AttributeError, LookupError, TypeError, ValueError, ArithmeticError)
_WAYS_ON = "make it in setup(), pass it as an argument of the Job, or put it into a module that is imported"


def module_text(thing: type | FunctionType, source: MainSource, module: str) -> str:
    """That of ``module``. Raises InputError, with the name, for what cannot be had in another process as it is here."""
    found = _Collector(source, vars(sys.modules["__main__"]))
    found.define(thing.__name__, thing, thing.__name__)
    found.check(module)
    name = "".join(
        letter if letter.isprintable() and letter not in '"\\' else "_" for letter in Path(source.title).name
    )
    return found.text(f"{thing.__name__} of {name}, and what it uses there; written by launcher.plan.")


@dataclass
class _Collector:
    source: MainSource
    namespace: dict[str, Any]
    imports: dict[str, None] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, Binding] = field(default_factory=dict)
    # What must be there before a definition is run: its bases, decorators and defaults.
    needed: dict[str, set[str]] = field(default_factory=dict)
    # All that is taken, each with who was the first to use it.
    users: dict[str, str] = field(default_factory=dict)

    def define(self, name: str, thing: Any, user: str) -> None:
        """Takes a class or function in, and what it uses."""
        self.users[name] = user
        binding = fitting(name, thing, self.source) if self.namespace.get(name) is thing else None
        if binding is None:
            raise self._refusal(name, thing)
        self.definitions[name] = binding
        self.needed[name], later = _names(binding.text)
        self._take_all(self.needed[name] | later, name)

    def _take_all(self, names: Iterable[str], user: str) -> None:
        for name in sorted(names):
            value = self.namespace.get(name, _MISSING)
            if value is _MISSING and name == "globals":
                raise InputError(f"{user} uses globals(): no other process has those of {self.source.title}")
            # One that is not there is Python's own, or raises NameError here, too.
            if not (name in self.users or value is _MISSING or name in _OF_EVERY_MODULE):
                self._take(name, value, user)

    def _take(self, name: str, value: Any, user: str) -> None:
        self.users[name] = user
        if (text := _literal(value)) is not None:
            self.values[name] = f"{name} = {text}"
        elif imports := self._imports(name, value):
            self.imports.update(dict.fromkeys(imports))
        elif binding := self._other_name(name, value):
            self.definitions[name] = binding
            self.needed[name], _ = _names(binding.text)
            self._take_all(self.needed[name], name)
        else:
            self.define(name, value, user)

    def _imports(self, name: str, value: Any) -> list[str]:
        """Lines that import this very value."""
        if value is sys.modules["__main__"] or getattr(value, "__module__", None) == "__main__":
            return []  # whatever module it was put into
        statements = [one.statement for one in (*self.source.bindings(name), *self.source.bindings("*"))]
        lines = [self._from(one, name, value) for one in statements if isinstance(one, ast.ImportFrom)]
        if found := next(filter(None, lines), None):
            return [found]
        if not isinstance(value, ModuleType):
            return []
        modules = {
            f"import {ast.unparse(alias)}": alias.name if alias.asname else alias.name.partition(".")[0]
            for one in statements
            if isinstance(one, ast.Import)
            for alias in one.names
            if (alias.asname or alias.name.partition(".")[0]) == name and alias.name in sys.modules
        }
        # All of them: each may have loaded another part of a package.
        of_value = [line for line, module in modules.items() if sys.modules[module] is value]
        is_known = sys.modules.get(value.__name__) is value
        return of_value or ([f"import {value.__name__} as {name}"] if is_known else [])

    def _from(self, statement: ast.ImportFrom, name: str, value: Any) -> str | None:
        package = self.namespace.get("__package__") or ""
        path = "." * statement.level + (statement.module or "")
        module = resolve_name(path, package) if statement.level and package else path
        for alias in statement.names:
            own = name if alias.name == "*" else alias.name
            if own != name and alias.asname != name:
                continue
            if getattr(sys.modules.get(module), own, _MISSING) is value:
                return f"from {module} import {own}{'' if own == name else f' as {name}'}"
        return None

    def _other_name(self, name: str, value: Any) -> Binding | None:
        """An assignment that calls nothing, and would give the name this very value now."""
        for one in self.source.bindings(name):
            expression = one.statement.value if isinstance(one.statement, ast.Assign | ast.AnnAssign) else None
            if expression is None or not _is_constant(expression) or name in _names(ast.unparse(expression))[0]:
                continue
            try:
                found = eval(compile(ast.Expression(expression), "<value>", "eval"), dict(self.namespace))
            except _UNEVALUABLE:
                continue
            if Sameness(self.namespace, self.namespace).difference(value, found) is None:
                return replace(one, text=f"{name} = {ast.unparse(expression)}")
        return None

    def check(self, module: str) -> None:
        """Raises InputError for a name that in the module does not mean what it means here."""
        made = self._made(module)
        same = Sameness(self.namespace, made)
        for name in self.users:
            value = self.namespace[name]
            if path := same.difference(value, made.get(name, _MISSING), name):
                raise self._refusal(name, value, path)

    def _made(self, name: str) -> dict[str, Any]:
        """The names of the module, which is run as it will be when it is imported."""
        module, before = ModuleType(name), sys.modules.get(name)
        sys.modules[name] = module  # dataclasses look there
        try:
            exec(self._head("made"), vars(module))
            for one in self._in_order():
                exec(one.compiled(self._file_of(one), self._flags), vars(module))
        except (Exception, SystemExit) as error:  # whatever the user's own definitions raise
            raise InputError(
                f"{self.source.title}: what {next(iter(self.users))} uses of it cannot be defined by itself: {described(error)}"
            ) from error
        finally:
            if before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = before
        return vars(module)

    def _file_of(self, binding: Binding) -> str:
        """Where decorators that read the source find it."""
        name = next(name for name, one in self.definitions.items() if one is binding)
        return next((code.co_filename for code in own_code(name, self.namespace[name])), self.source.title)

    @property
    def _flags(self) -> int:
        return flags_of(
            (code for name in self.definitions for code in own_code(name, self.namespace[name])), self.source
        )

    def _refusal(self, name: str, value: Any, path: str | None = None) -> InputError:
        user, where = self.users[name], self.source.title
        what = f"{user} uses {name}, " if user != name else f"{name}: "
        if path:
            return InputError(
                f"{what}which another process would not have as {where} has it: {path} is not what its source makes of it, but "
                f"was changed since; define it so at once, or {_WAYS_ON}"
            )
        if getattr(value, "__name__", "") == "<lambda>":
            return InputError(f"{what}a lambda of {where}, which no other process has: write it with def")
        if "<locals>" in getattr(value, "__qualname__", ""):
            return InputError(f"{what}which is defined inside a function: define it at the top level of a file or cell")
        if self.namespace.get(name, value) is not value:
            return InputError(f"{what}which {where} has defined anew since this one was made: make it again")
        if isinstance(value, FunctionType | type) and value.__module__ == "__main__":
            return InputError(
                f"{what}whose source is not to be found in {where}: write it with def or class at the top level, in a cell "
                "without %%magic; where it is there, run it again"
            )
        return InputError(f"{what}{a_type(value)} of {where}, which no other process has: {_WAYS_ON}")

    def text(self, title: str) -> str:
        return self._head(title) + "".join(f"\n\n\n{one.text}" for one in self._in_order()) + "\n"

    def _head(self, title: str) -> str:
        future = ["from __future__ import annotations"] if self._flags else []
        heads = [f'"""{title}"""', "\n".join(future), "\n".join(sorted(self.imports)), "\n".join(self.values.values())]
        return "\n\n".join(filter(None, heads))

    def _in_order(self) -> list[Binding]:
        """As they were written, but each after what it needs at once."""
        begun, done = set[str](), list[Binding]()

        def put(names: Iterable[str]) -> None:
            for name in sorted(names, key=lambda name: self.definitions[name].position):
                if name not in begun:
                    begun.add(name)
                    put(self.needed[name] & self.definitions.keys())
                    done.append(self.definitions[name])

        put(self.definitions)
        return done


def _names(text: str) -> tuple[set[str], set[str]]:
    """The global names that a definition uses when it is run itself, and those that it uses when it is called."""
    top = symtable.symtable(text, "<source>", "exec")
    at_once, later = set[str](), set(_named_in_text(ast.parse(text)))

    def look(table: symtable.SymbolTable, into: set[str]) -> None:
        into.update(one.get_name() for one in table.get_symbols() if one.is_global() and one.is_referenced())
        for child in table.get_children():
            look(child, at_once if child.get_type() == "class" and into is at_once else later)

    look(top, at_once)
    return at_once, later - at_once


def _named_in_text(tree: ast.AST) -> Iterator[str]:
    """Names in annotations that are text: what a Job is made with is converted by them."""
    for node in ast.walk(tree):
        annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
        for inner in ast.walk(annotation) if isinstance(annotation, ast.AST) else ():
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                try:
                    parsed = ast.parse(inner.value, mode="eval")
                except (SyntaxError, ValueError):  # text as such, as in Literal["a b"]
                    continue
                yield from (one.id for one in ast.walk(parsed) if isinstance(one, ast.Name))


def _literal(value: Any) -> str | None:
    """A plain value as Python writes it, where that reads back as the same."""
    try:
        text = _written(value)
        is_same = text is not None and len(text) <= _MOST_CHARACTERS and _written(ast.literal_eval(text)) == text
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return text if is_same else None


def _written(value: Any) -> str | None:
    """None for what is of another type, if only a subclass of one, also inside."""
    if type(value) in _WRITTEN:
        return repr(value)
    if type(value) not in _CONTAINERS:
        return None
    inner = [part for pair in value.items() for part in pair] if type(value) is dict else list(value)
    parts = [part for one in inner if (part := _written(one)) is not None]
    if len(parts) < len(inner):
        return None
    match value:
        case dict():
            return f"{{{', '.join(map(': '.join, zip(parts[::2], parts[1::2], strict=True)))}}}"
        case set():  # in an order that is the same in each process: the text gives the module's folder its name
            return f"{{{', '.join(sorted(parts))}}}" if parts else "set()"
        case tuple():
            return f"({', '.join(parts)}{',' * (len(parts) == 1)})"
    return f"[{', '.join(parts)}]"


def _is_constant(expression: ast.expr) -> bool:
    return all(isinstance(node, _CONSTANT) for node in ast.walk(expression))
