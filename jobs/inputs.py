"""Inputs: what the built-in jobs check before they use it: their parameters, and the columns of a manifest row.

A parameter that cannot work raises InputError, when the run is planned; a row that cannot be used raises ValueError, which
fails that sample alone.
"""

import io
import math
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs import extras
from jobs.errors import InputError
from jobs.references.stores import is_url, read_all


def bad_parameter(name: str, value: object, valid: str) -> InputError:
    """The error for a value that cannot work; ``valid`` says which ones can."""
    return InputError(f"job.params: {name}: {value!r} is not valid; valid: {valid}")


def need_number(name: str, value: object, valid: str, *, above: float = 0.0, most: float = math.inf) -> float:
    """A finite number with above < value <= most."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not above < value <= most or math.isinf(value):
        raise bad_parameter(name, value, valid)
    return float(value)


def need_whole(name: str, value: object, valid: str) -> int:
    """A whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise bad_parameter(name, value, valid)
    return value


def need_one_of(name: str, value: object, choices: Collection[str]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise bad_parameter(name, value, ", ".join(choices))
    return value


def need_folder(name: str, value: Path | str) -> Path:
    """An existing folder, made absolute; a relative one starts where the task runs, in the config's folder."""
    folder = Path(value).expanduser().absolute()
    if not folder.is_dir():
        raise InputError(
            f"job.params: {name}: there is no folder {folder}; valid: one that exists, or none to use {Path.cwd()}"
        )
    return folder


def need_packages(job: str, extra: str) -> None:
    """Raises InputError where one of the packages that the extra brings is not installed; imports none."""
    *rest, last = extras.missing(extra) or [""]
    if last:
        names = f"{', '.join(rest)} and {last}" if rest else last
        raise InputError(f"{job} needs {names}: {extras.how_to_install(extra)}")


def text_of(sample: Mapping[str, Any], column: str) -> str:
    """The row's value in a column, as text: an id may be a number, a file in a tar is bytes. Raises ValueError."""
    if column not in sample:
        raise ValueError(f"the manifest has no column {column!r}; its columns: {', '.join(sample)}")
    value = sample[column]
    if value is None or (isinstance(value, str | bytes) and not value):
        raise ValueError(f"column {column!r} is {'null' if value is None else 'empty'} here")
    if shape := getattr(value, "shape", ()):
        raise ValueError(f"column {column!r} is an array {list(shape)} here, and no text")
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise ValueError(f"column {column!r} is {len(value):,} bytes here, and no text") from None


def content_of(sample: Mapping[str, Any], column: str, folder: Path) -> Path | io.BytesIO:
    """The file that the row names; its bytes where the column has these (tars, images of datasets), or a URL."""
    value = sample.get(column)
    if isinstance(value, dict):
        sample, value = {column: value.get("path")}, value.get("bytes")
    if isinstance(value, str) and is_url(value):
        value = read_all(value)
    return io.BytesIO(value) if isinstance(value, bytes) else file_of(sample, column, folder)


@contextmanager
def local_file(sample: Mapping[str, Any], column: str, folder: Path) -> Iterator[Path]:
    """The same as a file, for what reads files; bytes are one in TMPDIR, while the context lasts."""
    content = content_of(sample, column, folder)
    if isinstance(content, Path):
        yield content
        return
    with tempfile.NamedTemporaryFile(prefix="launcher-sample-") as file:
        file.write(content.getbuffer())
        file.flush()
        yield Path(file.name)


def file_of(sample: Mapping[str, Any], column: str, folder: Path) -> Path:
    """The file that the row names, a relative one below ``folder``; raises ValueError, or OSError where there is none."""
    path = folder / text_of(sample, column)
    path.stat()
    return path
