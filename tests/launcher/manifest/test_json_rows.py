"""Rows of JSON Lines: a file is read if each line is an object by itself, and no whole number changes."""

import json
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InputError
from launcher.manifest.json_rows import MOST_NESTED, LineBlock, RowError, check_rows
from launcher.manifest.jsonl_source import JsonlSource

pieces = st.sampled_from(
    ['{"a": 1}', "{}", '{"a": {"b": "}{"}}', '{"a":', "1}", "}", ",", '{"b": []', "]", " ", "x", '"']
)
lines = st.lists(st.just('{"a": 1}') | st.lists(pieces, min_size=1, max_size=3).map("".join), min_size=1, max_size=4)
numbers = st.integers(-(2**66), 2**66) | st.sampled_from([2**53, 2**53 + 1, 2**63, -(2**63), 0.5, 1e300, 3])
values = numbers | st.none() | st.lists(numbers | st.none(), max_size=2)


def read(lines: list[str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "a.jsonl").write_text("\n".join(lines))
        source = JsonlSource(Path(name) / "a.jsonl")
        return [row for batch in source.batches(source.scan().schema) for row in batch.to_pylist()]


def refusal(lines: list[str]) -> str:
    try:
        read(lines)
    except InputError as error:
        return str(error)
    return ""


def is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


@given(lines)
def test_lines_are_read_only_where_each_is_an_object(lines: list[str]) -> None:
    wrong = [number for number, line in enumerate(lines, start=1) if line.strip() and not is_object(line)]
    message = refusal(lines)
    if "must be one JSON object on one line" in message:
        assert f"a.jsonl:{wrong[0]}: row " in message
    elif not message:  # other messages are of types that differ
        assert not wrong


@given(st.lists(st.fixed_dictionaries({"a": values, "b": values}), min_size=1, max_size=5))
def test_whole_numbers_arrive_as_they_are_or_are_refused(rows: list[dict[str, Any]]) -> None:
    try:
        found = read(list(map(json.dumps, rows)))
    except InputError:
        return
    assert exact(found) == exact(rows)


def exact(value: Any) -> Any:
    """Numbers as decimals of all their digits."""
    if isinstance(value, list):
        return [exact(item) for item in value]
    if isinstance(value, dict):
        return {name: exact(item) for name, item in value.items()}
    return None if value is None else Decimal(value)


@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"x":', "}"), ('[{"x":', "}]")])
def test_rows_may_be_nested_as_deep_as_arrow_goes(begin: str, end: str) -> None:
    deep = (MOST_NESTED - 1) // len(end)
    line = f'{{"a": {begin * deep}1{end * deep}, "b": "{"[" * 99}"}}'
    check_rows(LineBlock([line.encode()], 0))
    with pytest.raises(RowError, match="is nested over 60 deep"):
        check_rows(LineBlock([f'{{"a": {begin * 60}1{end * 60}}}'.encode()], 0))
