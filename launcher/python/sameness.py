"""Sameness: whether objects that were made anew are those that a session has now, part by part.

What is one list, dict, function or class in the session has to be one anew as well: a copy would be filled by one user of it,
and not be seen by the other.
"""

import copyreg
import functools
import inspect
import threading
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from types import CodeType, FunctionType
from typing import Any, TypeAlias

# The old part, the new one, and how a message calls them.
_Part: TypeAlias = tuple[Any, Any, str]

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_SHARED = (list, dict, set, bytearray, FunctionType, type)
_LOCKS = (type(threading.Lock()), type(threading.RLock()))
_FUNCTIONS = (FunctionType, staticmethod, classmethod, property)
# All that a code object does; not where it is written.
_OF_CODE = (
    "co_name", "co_qualname", "co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_argcount",
    "co_posonlyargcount", "co_kwonlyargcount", "co_flags", "co_consts", "co_exceptiontable",
)  # fmt: skip
_OWN_EACH = {"__module__", "__firstlineno__", "__annotate_func__", "_abc_impl"}
_EMPTY = object()
# What objects raise that do not tell what they are made of.
_SILENT = (TypeError, ValueError, AttributeError, NotImplementedError, RuntimeError)


class Sameness:
    """Of what the global names of ``old`` hold, and those of ``new``."""

    def __init__(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        self._old_globals, self._new_globals = old, new
        # With the objects themselves: an id is one's own only for as long as its object lives.
        self._seen: dict[tuple[int, int], tuple[Any, Any]] = {}
        self._new_of: dict[int, Any] = {}
        self._old_of: dict[int, Any] = {}

    def difference(self, old: Any, new: Any, path: str = "it") -> str | None:
        """Where they differ, as the path of the part; None where nothing does."""
        if old is new:
            return None
        if type(old) in _PLAIN:
            return None if type(old) is type(new) and repr(old) == repr(new) else path
        if (id(old), id(new)) in self._seen:  # a part of itself, or of another
            return None
        self._seen[id(old), id(new)] = old, new
        if isinstance(old, _SHARED) and not self._are_paired(old, new):
            return path
        if self.difference(type(old), type(new)):
            return path
        return next(filter(None, (self.difference(*part) for part in self._parts(old, new, path))), None)

    def _are_paired(self, old: Any, new: Any) -> bool:
        return self._new_of.setdefault(id(old), new) is new and self._old_of.setdefault(id(new), old) is old

    def _parts(self, old: Any, new: Any, path: str) -> Iterator[_Part]:
        """What has to be the same; the first that is not ends it, so that the later ones may rely on those before."""
        match old:
            case CodeType():
                yield from ((getattr(old, name), getattr(new, name), path) for name in _OF_CODE)
            case FunctionType():
                yield self._home(old), self._home(new), path
                yield from _parts_of_function(old, new, path)
            case type():
                yield from _parts_of_class(old, new, path)
            case staticmethod() | classmethod():
                yield old.__func__, new.__func__, path
            case property():
                yield (old.fget, old.fset, old.fdel), (new.fget, new.fset, new.fdel), path
            case functools._lru_cache_wrapper():
                yield _attributes(old), _attributes(new), path
            case _ if type(old) in (list, tuple):
                yield len(old), len(new), path
                yield from (
                    (mine, other, f"{path}[{at}]") for at, (mine, other) in enumerate(zip(old, new, strict=True))
                )
            case _ if type(old) is dict:
                yield list(old), list(new), path
                yield from ((old[key], mine, f"{path}[{key!r}]") for key, mine in zip(old, new.values(), strict=True))
            case _ if type(old) in (set, frozenset):
                yield sorted(map(repr, old)), sorted(map(repr, new)), path
            case _ if type(old) not in _LOCKS:
                yield _made_of(old), _made_of(new), path

    def _home(self, function: FunctionType) -> str | None:
        names = function.__globals__
        return None if names is self._old_globals or names is self._new_globals else str(names.get("__name__"))


def _parts_of_function(old: FunctionType, new: FunctionType, path: str) -> Iterator[_Part]:
    yield old.__code__, new.__code__, path
    yield (old.__name__, old.__qualname__), (new.__name__, new.__qualname__), path
    yield (old.__defaults__, old.__kwdefaults__), (new.__defaults__, new.__kwdefaults__), f"{path}'s defaults"
    yield _annotations(old), _annotations(new), f"{path}'s annotations"
    yield _attributes(old), _attributes(new), path
    for name, mine, other in zip(old.__code__.co_freevars, cells(old), cells(new), strict=True):
        yield mine, other, f"{path}'s {name}"


def _parts_of_class(old: type, new: type, path: str) -> Iterator[_Part]:
    yield (old.__name__, len(old.__bases__)), (new.__name__, len(new.__bases__)), path
    for mine, other in zip(old.__bases__, new.__bases__, strict=True):
        yield mine, other, f"{path}'s base {mine.__name__}"
    yield _annotations(old), _annotations(new), f"{path}'s annotations"
    has, made = _members(old), _members(new)
    for name in sorted({*has, *made}):
        yield has.get(name, _EMPTY), made.get(name, _EMPTY), f"{path}.{name}"


def cells(function: FunctionType) -> Iterator[Any]:
    """What the variables of the functions around it hold; an object that is nothing else where one holds nothing yet."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            yield _EMPTY


def _attributes(function: Any) -> dict[str, Any]:
    """What was put on it; a wrapper has the module of what it wraps, too."""
    return {name: value for name, value in vars(function).items() if name != "__module__"}


def _members(cls: type) -> dict[str, Any]:
    """Without what Python, or a library that makes classes, keeps in one for itself."""
    # A dataclass without a docstring is given one, which names the modules of its types.
    made = {"__doc__"} if is_dataclass(cls) and f"{cls.__doc__}".startswith(f"{cls.__name__}(") else set[str]()
    found = {name: value for name, value in vars(cls).items() if name not in _OWN_EACH | made}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, (*_FUNCTIONS, *_PLAIN)) or not (name.startswith("__") and name.endswith("__"))
    }


def _annotations(thing: Any) -> dict[str, Any] | None:
    try:
        return inspect.get_annotations(thing)
    except (NameError, AttributeError, TypeError):  # they name what there is for type checkers alone
        return None


def _made_of(thing: Any) -> Any:
    """As pickle would make it; of what tells nothing, something that is no other's."""
    try:
        reducer = copyreg.dispatch_table.get(type(thing))
        made = reducer(thing) if reducer else thing.__reduce_ex__(4)
        if isinstance(made, tuple):
            return [*made[:3], *(list(part or ()) for part in made[3:5])]
    except _SILENT:
        pass
    return object()
