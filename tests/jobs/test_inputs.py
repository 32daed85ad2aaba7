"""What built-in Jobs make of the values of a row, whatever manifest it is of."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.inputs import content_of, local_file, text_of


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (7, "7"), (b"\xc3\xbc", "ü"), (np.float64(1.5), "1.5")])
def test_numbers_and_bytes_of_text_are_text(value: Any, text: str) -> None:
    assert text_of({"x": value}, "x") == text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "is null here"),
        ("", "is empty here"),
        (b"", "is empty here"),
        (b"\xff", "is 1 bytes here, and no text"),
        (np.zeros(3), r"is an array \[3\] here, and no text"),
    ],
)
def test_what_is_no_text_is_told_with_its_column(value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"column 'x' {words}"):
        text_of({"x": value}, "x")


def test_bytes_are_a_file_for_as_long_as_it_is_read(tmp_path: Path) -> None:
    with local_file({"x": {"bytes": b"abc", "path": None}}, "x", tmp_path) as path:
        assert path.read_bytes() == b"abc"
    assert not path.exists()
    (tmp_path / "a").touch()
    with local_file({"x": "a"}, "x", tmp_path) as path:
        assert path == tmp_path / "a"
    assert isinstance(content_of({"x": b"abc"}, "x", tmp_path), io.BytesIO)
