"""Parameters: the keyword arguments of a Job's class, and their types.

``job.params`` is plain data (text, numbers, lists ...), checked by the launcher at planning. What plain data cannot be, the
class gets by its annotations: a Path, a tuple, a set.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from jobs.late_annotations import signature_of

UNKNOWN = inspect.Parameter.empty
"""The type of a parameter without annotation, or with one that cannot be resolved; such values are taken as they are."""

_COLLECTIONS = (tuple, set, frozenset)
# Among an object's own attributes, so that a copy of it knows it too.
_MADE_WITH = "_made_with"


def note(made: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Has an object remember what it is made with, as it is now: a constructor may change what it gets."""
    vars(made)[_MADE_WITH] = _copied(given), _copied(named)


@contextmanager
def without_note(made: Any) -> Iterator[None]:
    """Inside, an object does not know what it was made with: what it did not keep need not be sent where it is sent."""
    kept: Any = getattr(made, "__dict__", None)
    known = kept.pop(_MADE_WITH, None) if isinstance(kept, dict) else None  # a class has a view of one
    try:
        yield
    finally:
        if known is not None:
            kept[_MADE_WITH] = known


def _copied(value: Any) -> Any:
    """Plain containers, also in each other; what else is in them is taken as it is."""
    try:
        match value:
            case dict() if type(value) is dict:
                return {key: _copied(item) for key, item in value.items()}
            case list() | tuple() | set() if type(value) in (list, tuple, set):
                return type(value)(map(_copied, value))
    except RecursionError:  # one that is in itself
        pass
    return value


def made_with(made: Any) -> dict[str, Any] | None:
    """The arguments with which an object was made, by name; None where it does not know them."""
    if _MADE_WITH not in vars(made):
        return None
    given, named = vars(made)[_MADE_WITH]
    bound = signature(type(made)).bind(*given, **named)
    found: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        is_rest = bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        found |= value if is_rest else {name: value}
    return found


def signature(cls: type) -> inspect.Signature:
    """What the constructor takes; not the ``__new__`` of Job, which takes anything."""
    own_new = next(base for base in cls.__mro__ if "__new__" in vars(base)).__module__ != "jobs.job"
    if own_new or hasattr(cls, "__signature__"):
        return signature_of(cls)
    if cls.__init__ is object.__init__:  # type: ignore[misc]
        return inspect.Signature()
    constructor = signature_of(cls.__init__)  # type: ignore[misc]
    return constructor.replace(parameters=[*constructor.parameters.values()][1:])


def named_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """What the class takes by keyword; without ``**options``, which takes anything."""
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: found for name, found in signature(cls).parameters.items() if found.kind in by_name}


def takes_any(cls: type) -> bool:
    """Whether the class has ``**options``."""
    return any(found.kind is inspect.Parameter.VAR_KEYWORD for found in signature(cls).parameters.values())


def annotation(cls: type, parameter: inspect.Parameter) -> Any:
    """The parameter's type, resolved where it is written as text; UNKNOWN where there is none."""
    if parameter.annotation is UNKNOWN:
        return UNKNOWN
    holder = type("holder", (), {"__annotations__": {"value": parameter.annotation}})
    try:
        names = getattr(inspect.unwrap(cls.__init__), "__globals__", {})  # type: ignore[misc]
        return get_type_hints(holder, names, include_extras=True)["value"]
    except (NameError, AttributeError, TypeError, SyntaxError):  # imported under TYPE_CHECKING alone, or no type at all
        return UNKNOWN


def arguments(cls: type, params: Mapping[str, Any]) -> dict[str, Any]:
    """The params as the class has annotated them; its own, since a constructor may change lists and dicts that it gets."""
    known = named_parameters(cls)
    return {
        name: as_annotated(value, annotation(cls, known[name])) if name in known else value
        for name, value in _copied(dict(params)).items()
    }


def as_annotated(value: Any, kind: Any) -> Any:
    """Text as Path and lists as tuples or sets, where the type says so, also inside lists and mappings; else unchanged."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return as_annotated(value, inner[0])
    if origin in (Union, UnionType):
        # As it is where one of the types is its own, else as the first that changes it.
        candidates = [] if type(value) in inner else [as_annotated(value, one) for one in inner]
        return next((candidate for candidate in candidates if candidate != value), value)
    if kind is Path:
        return Path(value) if isinstance(value, str) else value
    if isinstance(value, dict):
        return {name: as_annotated(item, inner[1]) for name, item in value.items()} if len(inner) == 2 else value
    if not isinstance(value, list):
        return value
    container = origin or kind
    if container is tuple and inner and inner[-1] is not ...:
        return tuple(map(as_annotated, value, inner))
    items = [as_annotated(item, inner[0]) for item in value] if inner else value
    return container(items) if container in _COLLECTIONS else items
