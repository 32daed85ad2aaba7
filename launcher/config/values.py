"""The types of the values of config.yaml: what each may be, and how it is spelled.

Where a value can be of two kinds, a function says what is valid, because a message about each kind in turn would not help.
"""

import math
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from jobs.references.stores import FILE, SCHEMES
from launcher.units import format_memory, format_time, parse_memory, parse_time

_DEVICE = re.compile(r"cpu|cuda:[0-9]+")
_GPUS = re.compile(r"(?:[\w.-]+:)?\d+(?:,[\w.-]+:\d+)*")


def _matching(pattern: str, message: str) -> Callable[[str], str]:
    """A check for text that matches the whole pattern; it returns the text, or raises ValueError with the message."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(message)
        return value

    return check


_RUN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_check_run_name = _matching(
    _RUN_NAME,
    "must be a folder name: letters, digits, '.', '_' and '-', at most 100, not beginning with a sign",
)


def is_run_name(text: str) -> bool:
    """Whether a run may have this name."""
    return re.fullmatch(_RUN_NAME, text) is not None


# It is part of a file's name.
check_manifest_name = _matching(
    r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}",
    "the name of a manifest is letters, digits, '_' and '-', at most 50, not beginning with a sign",
)
_check_class = _matching(
    r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*",
    "must be module:Class, such as jobs.text_embedding:TextEmbedding",
)

_check_scratch = _matching(
    r"(?=[/~$])(?:[^$\n]|\$\w+|\$\{\w+\})+",
    "must be a folder of the node: /path, ~/path, or one that begins with $NAME or ${NAME}, which are put in there",
)


def _matched(pattern: str) -> dict[str, Any]:
    """A JSON Schema of text that matches the whole pattern."""
    return {"type": "string", "pattern": f"^{pattern}$"}


def _check_output(value: str) -> str:
    """The path of a file, or a URL of a store that is written to."""
    scheme, colon, rest = value.partition("://")
    if not colon or scheme == FILE:
        return value
    if scheme not in SCHEMES or scheme.startswith("http"):
        valid = ", ".join(one for one in (*SCHEMES, FILE) if not one.startswith("http"))
        raise ValueError(f"results are not written to {scheme}://; valid: a path, or a URL of {valid}")
    segments = rest.split("/")
    if len(segments) < 2 or {"", ".", ".."} & {*segments} or re.search(r"[?#\s]", rest):
        raise ValueError(
            # What stands behind may be a signature.
            f"must name an object, such as {scheme}://bucket/folder/result.h5 (no spaces, ? and #), not "
            f"{re.split('[?#]', value)[0]!r}{' with what follows it' if re.search('[?#]', value) else ''}"
        )
    return value


def check_sources(value: Any) -> str | tuple[str, ...]:
    """One manifest: a table, a glob, or a list of these."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) and item for item in value):
        return tuple(value)
    raise ValueError(f"must be the path of a table, a glob of sample files, or a list of these, not {value!r}")


def check_manifest(value: Any) -> str | tuple[str, ...] | dict[str, str | tuple[str, ...]]:
    """One manifest, or several by their names."""
    if isinstance(value, dict) and value:
        return {name: check_sources(sources) for name, sources in value.items()}
    return check_sources(value)


def _listed(value: Any) -> Any:
    """A list as YAML has it, or the only one of it."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _devices(value: Any) -> str | tuple[str, ...]:
    if value in ("auto", "cpu", "cuda"):
        return str(value)
    items = [value] if isinstance(value, str) else value
    if isinstance(items, list) and items and all(isinstance(item, str) and _DEVICE.fullmatch(item) for item in items):
        return tuple(items)
    raise ValueError(f"must be auto, cpu, cuda, or a list such as [cuda:0, cuda:1, cpu], not {value!r}")


def _valid_if(is_valid: Callable[[Any], bool], meaning: str) -> BeforeValidator:
    """A check of a value that may be of two kinds; it stays as it is."""

    def check(value: Any) -> Any:
        if is_valid(value):
            return value
        raise ValueError(f"must be {meaning}, not {value!r}")

    return BeforeValidator(check)


def _is_whole(value: Any, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _spelled(parse: Callable[[Any], int], write: Callable[[int], str]) -> BeforeValidator:
    """A size or time in one spelling, so that equal ones compare as equal."""
    return BeforeValidator(lambda value: None if value is None else write(parse(value)))


def _parse_file_size(value: Any) -> int:
    size = parse_memory(value)
    if size < _LEAST_FILE:
        raise ValueError(
            f"must be {format_memory(_LEAST_FILE)} or more, not {value!r}: each file has a head of its own"
        )
    return size


_LEAST_FILE = 1 << 20
# As a config may have them; the models know one spelling.
_SIZE_FORMS = WithJsonSchema({"type": ["string", "integer", "null"]})
_LIST_FORMS = WithJsonSchema({"type": ["string", "array"], "items": {"type": "string", "minLength": 1}, "minLength": 1})
FileSize: TypeAlias = Annotated[str | None, _spelled(_parse_file_size, format_memory), _SIZE_FORMS]
Size: TypeAlias = Annotated[str | None, _spelled(parse_memory, format_memory), _SIZE_FORMS]
Duration: TypeAlias = Annotated[str | None, _spelled(parse_time, format_time), _SIZE_FORMS]
RunName: TypeAlias = Annotated[str, AfterValidator(_check_run_name), WithJsonSchema(_matched(_RUN_NAME))]
JobClass: TypeAlias = Annotated[str, AfterValidator(_check_class)]
Names: TypeAlias = str | tuple[str, ...]
# More is a slip, and what is beyond 64 bits would end array tasks.
Count: TypeAlias = Annotated[int, Field(ge=1, le=10**12)]
# Processes of one machine: more than this is a slip, and would be prepared one by one before anybody said so.
_MOST_PROCESSES = 10_000
Column: TypeAlias = Annotated[str, Field(min_length=1)]
NameList: TypeAlias = Annotated[tuple[Column, ...], BeforeValidator(_listed), _LIST_FORMS]
PathText: TypeAlias = Annotated[
    str,
    Field(min_length=1),
    AfterValidator(_matching(r"[^\0]*", "must be a path: it has a NUL")),
    AfterValidator(
        _matching(
            r"(?![a-z][a-z0-9+.-]*://)(?s:.*)",
            "must be a path, not a URL: in stores manifests may be, and the result (output.path)",
        )
    ),
]
OutputPath: TypeAlias = Annotated[
    str,
    Field(min_length=1),
    AfterValidator(_matching(r"[^\0]*", "must be a path: it has a NUL")),
    AfterValidator(_check_output),
]
PathList: TypeAlias = Annotated[tuple[PathText, ...], BeforeValidator(_listed), _LIST_FORMS]
Scratch: TypeAlias = Annotated[str, AfterValidator(_check_scratch)]
_DEVICE_FORM = _matched(f"({_DEVICE.pattern})")
Devices: TypeAlias = Annotated[
    Names,
    BeforeValidator(_devices),
    WithJsonSchema(
        {"anyOf": [{"enum": ["auto", "cpu", "cuda"]}, _DEVICE_FORM, {"type": "array", "items": _DEVICE_FORM}]}
    ),
]
# A mapping whose keys are all commented out is null in YAML.
Params: TypeAlias = Annotated[
    dict[str, Any],
    BeforeValidator(lambda value: {} if value is None else value),
    WithJsonSchema({"type": ["object", "null"]}),
]
Factor: TypeAlias = Annotated[float, Field(ge=1, le=1000)]
FailureLimit: TypeAlias = Annotated[
    float | int,
    _valid_if(
        lambda value: _is_whole(value, 0) or (isinstance(value, float) and 0 <= value <= 1),
        "a share from 0.0 to 1.0 or a number of samples (0, 1, 2 ...)",
    ),
]
Parallelism: TypeAlias = Annotated[
    int | Literal["auto"],
    _valid_if(lambda value: value == "auto" or _is_whole(value, 1, _MOST_PROCESSES), "auto or a number from 1"),
]
Processes: TypeAlias = Annotated[
    int | Literal["auto"] | None,
    _valid_if(
        lambda value: value in (None, "auto") or _is_whole(value, 1, _MOST_PROCESSES),
        f"a number from 1 to {_MOST_PROCESSES}, null (one per device) or auto (as many as a node has CPUs and GPUs for)",
    ),
]
Workers: TypeAlias = Annotated[int, Field(ge=0, le=_MOST_PROCESSES)]
Gpus: TypeAlias = Annotated[
    int | str | None,
    _valid_if(
        lambda value: value is None or _is_whole(value, 0) or (isinstance(value, str) and bool(_GPUS.fullmatch(value))),
        "a number from 0, with a type before it if need be (a100:2)",
    ),
]
