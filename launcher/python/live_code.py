"""LiveCode: which statement of a text a class or function is of, told by the code that it runs."""

import __future__

import functools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import CodeType, FunctionType
from typing import Any

from launcher.python.main_source import Binding, Definition, MainSource
from launcher.python.sameness import Sameness, cells

# Of code whose annotations are text.
_AS_TEXT = __future__.annotations.compiler_flag


def fitting(name: str, thing: Any, source: MainSource) -> Binding | None:
    """The definition of this name that ``thing`` runs the code of; the one at its lines, or the last, of several such."""
    own = own_code(name, thing)
    flags = flags_of(own, source)
    found = [
        one
        for binding in source.bindings(name)
        if isinstance(binding.statement, Definition)
        for one in (binding, replace(binding, beside=()))
        if _has_all(one.compiled("<cell>", flags), own)
    ]
    at_its_lines = (one for one in found if own and all(code.co_firstlineno in one.lines for code in own))
    return next(at_its_lines, next(iter(found), None))


def flags_of(code: Iterable[CodeType], source: MainSource) -> int:
    """With which it was compiled: that its annotations are text, or none; where there is no code, as the source says."""
    return max((one.co_flags & _AS_TEXT for one in code), default=_AS_TEXT * source.has_later_annotations)


def own_code(name: str, thing: Any) -> list[CodeType]:
    """What is written in the definition of a name, of a class or function, also where decorators have wrapped it."""
    return [code for code in _code(thing, set()) if f"{code.co_qualname}.".startswith(f"{name}.")]


def _code(thing: Any, seen: set[int]) -> Iterator[CodeType]:
    if id(thing) in seen:
        return
    seen.add(id(thing))
    inner: list[Any] = []
    match thing:
        case FunctionType():
            yield thing.__code__
            inner = [getattr(thing, "__wrapped__", None), *cells(thing)]
        case type():
            inner = [value for value in vars(thing).values() if getattr(value, "__module__", "__main__") == "__main__"]
        case staticmethod() | classmethod():
            inner = [thing.__func__]
        case property():
            inner = [thing.fget, thing.fset, thing.fdel]
        case functools._lru_cache_wrapper() | functools.partial():
            inner = [getattr(thing, "__wrapped__", None), getattr(thing, "func", None)]
    for one in inner:
        yield from _code(one, seen)


def _has_all(module: CodeType, wanted: list[CodeType]) -> bool:
    inside = list(_inside(module))
    return all(
        any(Sameness({}, {}).difference(one, other) is None for other in inside if one.co_name == other.co_name)
        for one in wanted
    )


def _inside(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _inside(constant)
