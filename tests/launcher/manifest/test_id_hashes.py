"""Hashes of ids: equal ones of equal ids alone, wherever they lie in an array; and none for what is no id."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from launcher.manifest.id_hashes import id_hashes

IDS = st.lists(
    st.one_of(st.none(), st.text(max_size=30), st.sampled_from(["x" * 511, "x" * 512, "x" * 513, "x" * 2000]))
)


@given(IDS, st.integers(0, 5))
def test_hashes_are_equal_where_ids_are(ids: list[str | None], skipped: int) -> None:
    column = pa.array(ids, pa.string()).slice(skipped)
    hashes, ids = id_hashes(column).tolist(), ids[skipped:]
    assert [bool(number) for number in hashes] == [bool(one) for one in ids]
    assert len(set(hashes)) == len({one or None for one in ids})
    assert hashes == [int(id_hashes(pa.array([one], pa.string()))[0]) for one in ids]


def test_ids_that_differ_in_little_have_other_hashes() -> None:
    numbered = [f"{number:07d}" for number in range(100_000)]
    ids = pa.array([*numbered, *(f"/data/images/{one}.jpg" for one in numbered), *(f"{one}\0" for one in numbered)])
    assert len(np.unique(id_hashes(ids))) == len(ids)
