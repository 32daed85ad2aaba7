"""Rows of JSON Lines: what is wrong with one by itself, in words, and whole numbers that would lose digits.

Everything is looked at in bulk first; only rows that may be wrong are read with Python's json.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from launcher.manifest.csv_types import strings

# An Arrow file holds types up to 64 deep, and a manifest's own columns are some of that.
MOST_NESTED = 60
_MOST_EXACT = 2**53  # a float64 holds all whole numbers up to it
_ONE_OBJECT = "must be one JSON object on one line"
_SHOWN = 40  # digits of a number in a message
_PLAIN_NAME = re.compile(r"\w+", re.ASCII)
_LARGE = r"[:,\[\s]-?[0-9]{16,}[\s,\]}]"


@dataclass(frozen=True)
class LineBlock:
    """Lines that are not blank, without the blanks around them, and the row of the first."""

    lines: list[bytes]
    first_row: int

    @cached_property
    def text(self) -> bytes:
        return b"\n".join(self.lines) + b"\n"


class RowError(Exception):
    """What is wrong with a row, counted within its block."""

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(problem)
        self.row = row


def check_rows(block: LineBlock) -> None:
    """Raises RowError unless each line begins and ends as an object does and none is nested too deep for Arrow.

    Arrow takes line breaks for blanks. Within an object ``}`` is never followed by ``{``, so lines that all have this
    form and are as many as the objects have one each.
    """
    for row, line in enumerate(block.lines):
        if line.count(b"{") + line.count(b"[") > MOST_NESTED and _depth(line) > MOST_NESTED:
            raise RowError(row, f"is nested over {MOST_NESTED} deep; write the inner value as text, in quotes")
        if not (line.startswith(b"{") and line.endswith(b"}")):
            raise explain(block) or RowError(row, _ONE_OBJECT)


def check_count(block: LineBlock, rows: int) -> None:
    """Raises RowError where the lines are not as many as the objects that were read."""
    if rows != len(block.lines):
        raise explain(block) or RowError(0, _ONE_OBJECT)


def explain(block: LineBlock) -> RowError | None:
    """The first row that is wrong by itself."""
    problems = ((row, _problem(line)) for row, line in enumerate(block.lines))
    return next((RowError(row, problem) for row, problem in problems if problem), None)


def _problem(line: bytes) -> str | None:
    try:
        value = json.loads(line, parse_int=Decimal)
    except json.JSONDecodeError as error:
        return f"{_ONE_OBJECT}: {error.msg.lower()} in column {error.colno}"
    if not isinstance(value, dict):
        return f'{_ONE_OBJECT}, such as {{"text": "x"}}'
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        half = rf"\u{ord(error.object[error.start]):x}"
        return f"holds {half} alone, half of a character: a text was cut there; take it out, or write \\ufffd"
    return None


def _depth(line: bytes) -> int:
    """How deep brackets are nested, outside of text."""
    data = np.frombuffer(re.sub(rb'"(?:[^"\\]|\\.)*"', b"", line), np.uint8)
    steps = np.isin(data, list(b"{[")).astype(np.int32) - np.isin(data, list(b"}]"))
    return int(steps.cumsum().max(initial=0))


def has_large_integers(text: bytes, pattern: str = _LARGE) -> bool:
    """Whether there may be whole numbers of so many digits that a float64 does not hold all of them."""
    return bool(pc.match_substring_regex(strings([text]), pattern)[0].as_py())


def large_in_floats(schema: pa.Schema) -> str | None:
    """A pattern of such numbers in columns that are of floats, or hold some; None where there are no such columns."""
    fields = [field for field in schema if _has_floats(field.type)]
    if all(pa.types.is_floating(field.type) and _PLAIN_NAME.fullmatch(field.name) for field in fields):
        names = "|".join(field.name for field in fields)
        return rf'"(?:{names})"\s*:\s*-?[0-9]{{16,}}[\s,}}]' if fields else None
    return _LARGE


def _has_floats(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or any(_has_floats(kind.field(n).type) for n in range(kind.num_fields))


def inexact_integer(block: LineBlock, schema: pa.Schema, pattern: str) -> RowError | None:
    """The first row with a whole number over 2^53, of the pattern, where the schema says that it is a float."""
    large = re.compile(pattern.encode())
    for row, line in enumerate(block.lines):
        if large.search(line):
            for column, value in json.loads(line, parse_int=Decimal).items():
                for number in _floated(value, schema.field(column).type):
                    return RowError(row, _inexact(column, number))
    return None


def _inexact(column: str, number: Decimal) -> str:
    over = abs(number) >= 2**63
    why = "is beyond an int64" if over else "would be rounded: the column has fractions too, and is of float64"
    digits = str(number)
    shown = digits if len(digits) < _SHOWN else f"{digits[:_SHOWN]}..."
    return f"column {column!r}: {shown} {why}; write this column's values as text, in quotes"


def _floated(value: Any, kind: pa.DataType) -> Iterator[Decimal]:
    """Whole numbers over 2^53 that the type makes floats."""
    if isinstance(value, Decimal):
        if pa.types.is_floating(kind) and abs(value) > _MOST_EXACT:
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from _floated(item, kind.value_type)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _floated(item, kind.field(name).type)
