"""Quotes: what Python's csv module writes is right; one quote less, and it is found."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.manifest.quotes import QuotePairs, wrong_quotes

rows = st.lists(st.lists(st.text('ab",;\r\n', max_size=4), min_size=1, max_size=3), max_size=5)


def pairs_are_odd(data: bytes, size: int, delimiter: str = ",") -> bool:
    pairs = QuotePairs(delimiter)
    for start in range(0, len(data), size):
        pairs.update(data[start : start + size])
    return pairs.odd()


@given(rows, st.integers(1, 9), st.sampled_from(",;\t"))
def test_what_the_csv_module_writes_has_pairs_of_quotes(rows: list[list[str]], size: int, delimiter: str) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    assert not pairs_are_odd(text.getvalue().encode(), size, delimiter)
    assert wrong_quotes(io.StringIO(text.getvalue(), newline=""), delimiter) is None


@given(st.text('a",\n', max_size=12), st.integers(1, 5))
def test_whatever_the_csv_module_refuses_is_odd(text: str, size: int) -> None:
    if wrong_quotes(io.StringIO(text, newline=""), ","):
        assert pairs_are_odd(text.encode(), size)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('a,b\n\n1,"x\ny"\n2,"z', (5, 2, "has a quote that is never closed")),
        ('a,b\n1,"x"y\n', (2, 1, "has a quote that is never closed, or text behind its closing quote")),
        ('a,b\n1,5" disk\n2,say "x"\n', None),
        ('a,b\n1,"' + "x\n" * 100_000, (2, 1, "has a quote that is never closed")),
    ],
)
def test_wrong_quotes_have_the_line_and_the_row_where_they_begin(text: str, found: tuple[int, int, str] | None) -> None:
    assert wrong_quotes(io.StringIO(text, newline=""), ",") == found
