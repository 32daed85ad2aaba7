"""Parameters: what a Job takes as ``job.params``, described and checked.

The types are those of the constructor's annotations, checked by pydantic as strictly as the config's own keys: "5" is no
number, 1.5 no whole number, true not 1. What has no annotation is taken as it is.
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from jobs.nearest import did_you_mean, nearest
from jobs.parameters import UNKNOWN, annotation, named_parameters, takes_any
from launcher.config.origins import Problem
from launcher.config.problems import shown, worded_value
from launcher.config.yaml_lines import KeyPath

if TYPE_CHECKING:
    from launcher.documents.helps import ParameterDocument

_PARAMS = ("job", "params")
_UNIONS = (Union, UnionType)
# Up to a full stop that ends a word, outside parentheses.
_SENTENCE = re.compile(r"(?:\([^()]*\)|\.(?=\S)|[^.])+")
# What a clause says is about: ``mean``, ``std``: ...
_HEAD = re.compile(r"(?:``\w+``(?:, | and )?)+(?::| is| are)?\s+")
_BEGINNING = re.compile(r";\s+(?=``\w+``(?:,| and|:| is| are))")


@dataclass(frozen=True)
class Parameter:
    """One keyword argument: its type (UNKNOWN where it has none), its default, and what the class's docstring says."""

    name: str
    kind: Any
    required: bool
    default: Any
    words: str

    @property
    def type_text(self) -> str:
        """The type as one writes it in Python; empty where it has none."""
        return "" if self.kind is UNKNOWN else _type_text(self.kind)

    @property
    def default_text(self) -> str:
        """``required``, or the default as a config has it."""
        return "required" if self.required else f"default {shown(to_jsonable_python(self.default, fallback=repr))}"

    def to_json(self) -> "ParameterDocument":
        """An entry of ``launcher jobs --json``; without a default where it has to be given."""
        kind = self.type_text or None
        found: ParameterDocument = {
            "name": self.name,
            "type": kind,
            "required": self.required,
            "description": self.words,
        }
        if not self.required:
            found["default"] = to_jsonable_python(self.default, fallback=repr)
        return found


def _type_text(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        base, *given = get_args(kind)
        # pydantic's Field keeps its limits, such as Ge(ge=1), in ``metadata``.
        found = [limit for item in given for limit in getattr(item, "metadata", [item])]
        limits = [re.sub(r"^[A-Z]\w*\((.*)\)$", r"\1", repr(limit)) for limit in found]
        return f"{_type_text(base)} with {', '.join(limits)}"
    return re.sub(r"\b(?:typing|pathlib|collections\.abc)\.", "", inspect.formatannotation(kind))


def read_parameters(cls: type) -> tuple[Parameter, ...]:
    """The parameters of a Job's class, in order."""
    text = docstring(cls)
    return tuple(
        Parameter(name, annotation(cls, found), found.default is UNKNOWN, found.default, _words(text, name))
        for name, found in named_parameters(cls).items()
    )


def check_params(cls: type, path: str, params: Mapping[str, Any]) -> list[Problem]:
    """All that is wrong with the params of the class at ``path`` (module:Class): unknown, missing, of another type."""
    known = {parameter.name: parameter for parameter in read_parameters(cls)}
    problems: list[Problem] = []
    meant: set[str] = set()
    for name, value in params.items():
        if name in known:
            problems += _value_problems(known[name], value)
        elif not takes_any(cls):
            meant.update(near := nearest(name, known))
            guess, valid = did_you_mean(near, as_sentence=True), ", ".join(known) or "none"
            text = f"unknown parameter.{guess} Parameters of {path}: {valid}; see `launcher jobs {path}`"
            problems.append(((*_PARAMS, name), text))
    for name, parameter in known.items():
        if parameter.required and name not in params and name not in meant:
            kind = f" ({parameter.type_text})" if parameter.type_text else ""
            words = f": {parameter.words}" if parameter.words else ""
            problems.append(((*_PARAMS, name), f"is required{kind}{words}"))
    return problems


def _value_problems(parameter: Parameter, value: Any) -> Iterator[Problem]:
    if parameter.kind is UNKNOWN:
        return
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(parameter.kind)
    except PydanticUserError:  # a type that is none for plain data; the class itself may still refuse the value
        return
    try:
        # As JSON, since the params are plain data: a list may be a tuple there, and text a Path, but nothing else is lax.
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        at = (*_PARAMS, parameter.name)
        member, *others = _members(parameter.kind)
        if others:
            yield at, f"must be {parameter.type_text}, not {shown(value)}"
            return
        choices = [str(choice) for choice in get_args(member)] if get_origin(member) is Literal else []
        messages: dict[KeyPath, list[str]] = {}
        for details in error.errors():
            text = worded_value(details) + did_you_mean(nearest(str(details["input"]), choices))
            messages.setdefault(_within(value, details["loc"]), []).append(text)
        for inner, texts in messages.items():
            yield (*at, *inner), "; or ".join(texts)


def _within(value: Any, location: KeyPath) -> KeyPath:
    """The part of an error's location that leads into the value; the rest names members of a union."""
    path: list[str | int] = []
    for key in location:
        try:
            value = value[key]
        except (TypeError, KeyError, IndexError):
            break
        path.append(key)
    return tuple(path)


def _members(kind: Any) -> list[Any]:
    """The types of a union but None, which pydantic reports one by one; any other type alone."""
    if get_origin(kind) is Annotated:
        return _members(get_args(kind)[0])
    return [member for member in get_args(kind) if member is not type(None)] if get_origin(kind) in _UNIONS else [kind]


def docstring(cls: type) -> str:
    """The class's own docstring, and that of its constructor."""
    own = [vars(cls).get("__doc__"), getattr(vars(cls).get("__init__"), "__doc__", None)]
    return "\n\n".join(inspect.cleandoc(text) for text in own if text)


def _words(text: str, name: str) -> str:
    """What a docstring says of a parameter: its line under Args, or the clause that it begins, or that mentions it."""
    listed = re.search(rf"^\s*{name}\s*(?:\([^)]*\))?:\s+(\S.*(?:\n\s{{6,}}\S.*)*)", text, re.MULTILINE)
    if listed:
        return " ".join(listed[1].split())
    marked = f"``{name}``"
    # Sentences, cut where they begin to speak of a ``name``; items of a list are sentences.
    flat = " ".join(re.sub(r"\n\s*\n|^\s*[-*] ", ". ", text, flags=re.MULTILINE).split())
    clauses = [part.strip(" .;") for sentence in _SENTENCE.findall(flat) for part in _BEGINNING.split(sentence)]
    heads = [(clause, head) for clause in clauses if (head := _HEAD.match(clause))]
    own = [clause[head.end() :] for clause, head in heads if marked in head[0]]
    pieces = [piece for clause in clauses for piece in clause.split("; ")]
    elsewhere = [piece for piece in pieces if marked in piece and not piece.startswith("``")]
    return next(iter([*own, *elsewhere]), "").replace("``", "")
