"""Checked JSON: what was written is read back, and what is not that is never taken for it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.storage.checked_json import decode, encode

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
documents = st.dictionaries(st.text(max_size=5).filter(lambda key: key != "checksum"), values, max_size=4)


@given(documents)
def test_what_is_written_is_read_back_also_formatted_anew(data: dict[str, Any]) -> None:
    assert decode(encode(data)) == data
    assert decode(json.dumps(json.loads(encode(data))).encode()) == data


@given(documents, st.data())
def test_a_byte_that_went_bad_changes_no_value_unseen(data: dict[str, Any], draw: st.DataObject) -> None:
    text = bytearray(encode(data))
    at = draw.draw(st.integers(0, len(text) - 1))
    text[at] ^= 1 << draw.draw(st.integers(0, 7))
    try:
        found = decode(bytes(text))
    except ValueError:
        return
    # What is left are other ways to write the same, and the checksum's own key: readers know no other.
    assert {key: found[key] for key in data} == data


def test_a_file_by_an_older_version_has_no_checksum() -> None:
    assert decode(b'{"name": "x"}') == {"name": "x"}
    with pytest.raises(ValueError, match="not a mapping"):
        decode(b"[1]")
