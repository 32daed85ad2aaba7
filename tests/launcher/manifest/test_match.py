"""Match and Grown: two manifests compared by their ids, and the larger one of both, written."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.storage.samples import BATCH_ROWS
from launcher.manifest.grown import read_table, write_grown
from launcher.manifest.manifest import build_manifest
from launcher.manifest.match import Match, match

SCHEMA = pa.schema([("id", pa.string()), ("x", pa.float64()), ("many", pa.list_(pa.int64()))])

Content = tuple[float | None, list[int] | None]
contents = st.tuples(
    st.sampled_from([None, 0.0, -0.0, 1.5, float("nan"), 1e300]),
    st.none() | st.lists(st.integers(0, 2), max_size=2),
)
manifests = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), contents, max_size=12)


def table(rows: dict[str, Content]) -> pa.Table:
    columns = {"id": list(rows), "x": [x for x, _ in rows.values()], "many": [many for _, many in rows.values()]}
    return pa.table(columns, schema=SCHEMA)


def ids(of: pa.Table, rows: Any) -> list[str]:
    names = of.column("id").to_pylist()
    return [names[row] for row in rows]


@given(manifests, manifests)
def test_samples_are_the_same_where_their_ids_are(before: dict[str, Content], now: dict[str, Content]) -> None:
    old, new = table(before), table(now)
    found = match(old, new, "id")
    assert ids(new, found.new) == [name for name in now if name not in before]
    changed = [name for name in now if name in before and repr(now[name]) != repr(before[name])]
    assert ids(new, found.changed_now) == changed
    assert ids(old, found.changed) == changed
    assert found.gone == len(before.keys() - now.keys())
    begins = list(now)[: len(before)] == list(before) and not changed
    assert found.begins_alike == begins


@given(manifests, manifests)
def test_without_ids_only_the_row_tells(before: dict[str, Content], now: dict[str, Content]) -> None:
    old, new = table(before), table(now)
    found = match(old, new, None)
    assert found.new.tolist() == list(range(len(before), len(now)))
    same = list(map(repr, old.to_pylist())) == list(map(repr, new.to_pylist()[: len(before)]))
    assert found.begins_alike == same


def test_a_few_samples_of_very_many_are_found_wherever_they_went() -> None:
    rows = 2 * BATCH_ROWS + 1000
    before = pa.table(
        {"id": [f"k{row}" for row in range(rows)], "x": np.arange(rows, dtype=float), "many": [None] * rows}
    )
    before = before.cast(SCHEMA)
    dice = np.random.default_rng(1)
    order = dice.permutation(rows)[: rows - 100]
    now = before.take(pa.array(order))
    x = now.column("x").to_numpy().copy()
    x[[5, 70_000]] += 0.5
    found = match(before, now.set_column(1, "x", pa.array(x)), "id")
    assert found.changed_now.tolist() == [5, 70_000]
    assert found.changed.tolist() == order[[5, 70_000]].tolist()
    assert (len(found.new), found.gone, found.begins_alike) == (0, 100, False)


def write_csv(path: Path, rows: dict[str, int]) -> None:
    path.write_text("id,x\n" + "".join(f"{name},{x}\n" for name, x in rows.items()))


@settings(max_examples=25)
@given(st.dictionaries(st.text("abcd", min_size=1, max_size=3), st.integers(0, 9), min_size=1), st.data())
def test_what_is_grown_is_the_file_that_all_samples_give_at_once(before: dict[str, int], data: st.DataObject) -> None:
    names = st.sampled_from(sorted(before))
    changed = data.draw(st.dictionaries(names, st.integers(10, 19)))
    new = data.draw(st.dictionaries(st.text("efgh", min_size=1, max_size=3), st.integers(0, 9)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_csv(folder / "before.csv", before)
        write_csv(folder / "now.csv", {**before, **changed, **new})
        build_manifest("before.csv", folder / "before.arrow", "id", None, folder=folder)
        old = read_table(folder / "before.arrow")
        at_once = build_manifest("now.csv", folder / "now.arrow", "id", None, folder=folder, like=old.schema)
        rows = read_table(folder / "now.arrow")
        found: Match = match(old, rows, "id")
        others = rows.take(pa.array(found.changed_now))
        made = write_grown(folder / "grown.arrow", old, found.changed, others, [rows.take(pa.array(found.new))], ())
        assert made == (at_once.fingerprint, at_once.digests)
        assert (folder / "grown.arrow").read_bytes() == (folder / "now.arrow").read_bytes()
