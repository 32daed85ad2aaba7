import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from jobs.storage.attempts import read_records
from jobs.storage.beats import Beat, Held
from jobs.storage.journal import Journal, decode, encode
from jobs.storage.records import AttemptStart, Block, Commit, Commits, DataFile, FailedSample, Layout, Output, Record
from jobs.storage.spans import Spans
from tests.support.builders import ELSEWHERE
from tests.support.launcher_runs import ROOT

START = AttemptStart(1, 0, 0, 0.0, "host", ELSEWHERE)

text = st.text(max_size=20)
numbers = st.integers(0, 10_000)
failures = st.builds(FailedSample, numbers, st.just("LOAD"), text, st.integers(1, 9))
blocks = st.lists(st.builds(Block, st.integers(0, 3), numbers, numbers, text), max_size=3).map(tuple)
commits = st.builds(
    Commit, numbers, st.integers(10_001, 20_000), blocks, st.lists(failures, max_size=3).map(tuple), st.booleans(),
    seconds=st.just(0.5),  # as written: rounded
    counts=st.just(()), load_seconds=st.just(0.0),  # not written
)  # fmt: skip
held = st.builds(Held, numbers, st.integers(1, 3), numbers, numbers, numbers)
records = st.one_of(
    st.builds(AttemptStart, numbers, numbers, numbers, st.just(1.0), text, st.just(ELSEWHERE)),
    st.builds(Layout, st.tuples(st.builds(Output, text, st.booleans(), st.just("<f4"), st.just((3,))))),
    st.builds(DataFile, numbers, text),
    st.builds(Commits, st.lists(commits, min_size=1, max_size=3).map(tuple)),
    st.builds(
        Beat, numbers, st.just(1.0), st.lists(st.tuples(numbers, numbers), max_size=3).map(Spans),
        claims=st.lists(held, max_size=2).map(tuple),
    ),
)  # fmt: skip
journals = st.lists(records, min_size=1, max_size=12)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all examples of a property; each writes it anew."""
    return tmp_path_factory.mktemp("journals") / "0001-00000-00000000.journal"


def encoded(written: Sequence[Record]) -> bytes:
    return b"".join(map(encode, written))


def decoded(path: Path) -> list[Record]:
    return [record for record in read_records(path) if record]


def is_subsequence(some: Sequence[Record], of: Sequence[Record]) -> bool:
    rest: Iterator[Record] = iter(of)
    return all(any(record == other for other in rest) for record in some)


@given(journals)
def test_a_journal_reads_as_what_was_appended(path: Path, written: list[Record]) -> None:
    path.unlink(missing_ok=True)
    with Journal(path) as journal:
        journal.append(*written[:1])
        journal.append_lines(map(encode, written[1:]))
        assert journal.size == path.stat().st_size

    assert list(read_records(path)) == written


@given(journals, st.data())
def test_any_prefix_reads_as_the_records_that_are_whole_in_it(
    path: Path, written: list[Record], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(encoded(written))))
    path.write_bytes(encoded(written)[:cut])

    found = decoded(path)

    # A line that lacks its newline alone is whole: its checksum says so.
    ends = [end - 1 for end in itertools.accumulate(len(encode(record)) for record in written)]
    assert found == written[: sum(end <= cut for end in ends)]


@given(journals, st.data())
def test_a_damaged_byte_loses_its_line_alone(path: Path, written: list[Record], data: st.DataObject) -> None:
    damaged = bytearray(encoded(written))
    position = data.draw(st.integers(0, len(damaged) - 1))
    joins_lines = damaged[position] == ord("\n")
    damaged[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)

    found = decoded(path)

    # A damaged newline joins two lines, so both are lost.
    assert is_subsequence(found, written)
    assert len(written) - len(found) <= (2 if joins_lines else 1)


@given(journals, st.lists(st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=40)), max_size=4))
def test_whatever_is_overwritten_reading_never_raises_and_invents_nothing(
    path: Path, written: list[Record], overwrites: list[tuple[int, bytes]]
) -> None:
    content = bytearray(encoded(written))
    for position, junk in overwrites:
        start = position % len(content)
        content[start : start + len(junk)] = junk
    path.write_bytes(content)

    assert is_subsequence(decoded(path), written)


@given(st.binary(max_size=200))
def test_anything_else_reads_as_nothing(path: Path, junk: bytes) -> None:
    path.write_bytes(junk)

    assert decoded(path) == []


def test_a_line_of_zeros_after_a_crash_is_one_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(encode(START) + bytes(4096) + b"\n" + encode(Beat(0, 1.0)))

    assert list(read_records(path)) == [START, None, Beat(0, 1.0)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"3",
        b"{}",
        b'{"type":"colour"}',
        b'{"type":"commits"}',
        b'{"type":"layout","outputs":[{}]}',
        b"\xff",
    ],
)
def test_a_line_of_a_version_that_knows_other_records_is_none(body: bytes) -> None:
    assert decode(xxhash.xxh3_64_hexdigest(body).encode() + b" " + body) is None


@given(journals, st.data())
def test_a_journal_is_read_from_any_line_on(path: Path, written: list[Record], data: st.DataObject) -> None:
    path.write_bytes(encoded(written))
    first = data.draw(st.integers(0, len(written)))

    assert list(read_records(path, len(encoded(written[:first])))) == written[first:]


def test_a_journal_that_is_there_already_is_nobody_elses(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        journal.append(START)
        with pytest.raises(FileExistsError):
            Journal(tmp_path / "journal")

    with pytest.raises(FileExistsError):
        Journal(tmp_path / "journal")
    assert decoded(tmp_path / "journal") == [START]


WRITER = """
import sys
from pathlib import Path
from jobs.storage.journal import Journal
from jobs.storage.records import Commit, Commits
with Journal(Path(sys.argv[1])) as journal:
    for row in range(100_000):
        journal.append(Commits((Commit(row, row + 1),)))
        print(row, flush=True)
"""


@pytest.mark.parametrize("seed", range(3))
def test_what_was_appended_survives_the_death_of_the_process(tmp_path: Path, seed: int) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "journal")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for _ in range(random.Random(seed).randint(1, 100)):
            seen = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)

    found = [record.commits[0].start for record in decoded(tmp_path / "journal") if isinstance(record, Commits)]
    assert found[: seen + 1] == list(range(seen + 1))
