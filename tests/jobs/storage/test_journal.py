import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.errors import BusyError
from jobs.kinds import EndReason, FailureKind, SampleFailureKind
from jobs.storage.journal import History, Journal, JournalReader, decode, encode, is_running, replay
from jobs.storage.records import (
    AttemptEnd,
    AttemptStart,
    Commit,
    FailedSample,
    Layout,
    Output,
    Record,
    Retry,
    Segment,
)
from tests.support.launcher_runs import ROOT

# The machine may be busy with other things.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

START = AttemptStart(1, 1, 0.0, "host", 1)
END = AttemptEnd(EndReason.DONE, 2.0, 64, 0)

text = st.text(max_size=20)
hashes = st.dictionaries(st.sampled_from("abc"), st.text("0123456789abcdef", min_size=16, max_size=16))
failures = st.builds(FailedSample, st.integers(0, 10_000), st.just("LOAD"), text, st.integers(1, 9))
segments = st.dictionaries(st.sampled_from("abc"), st.builds(Segment, st.integers(0), st.integers(0), text))
records = st.one_of(
    st.builds(AttemptStart, st.integers(1, 9), st.integers(1, 9), st.just(1.0), text, st.integers(1, 9)),
    st.builds(AttemptEnd, st.sampled_from(["done", "failed"]), st.just(1.0), st.integers(0), st.integers(0)),
    st.builds(Layout, st.tuples(st.builds(Output, text, st.booleans(), st.just("<f4"), st.just((3,))))),
    st.builds(
        Commit,
        st.integers(0, 20).map(lambda batch: batch * 64),
        st.integers(64, 6400),
        hashes,
        segments,
        st.lists(failures, max_size=3).map(tuple),
        st.booleans(),
    ),
    st.builds(Retry, st.just(1.0)),
)
journals = st.lists(records, min_size=1, max_size=12)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all examples of a property; each writes it anew."""
    return tmp_path_factory.mktemp("journals") / "000000.journal"


def encoded(written: Sequence[Record]) -> bytes:
    return b"".join(map(encode, written))


def applied(written: Sequence[Record]) -> History:
    history = History()
    for record in written:
        history.apply(record)
    return history


def decoded(path: Path) -> list[Record]:
    return [record for line in path.read_bytes().split(b"\n") if (record := decode(line))]


def is_subsequence(some: Sequence[Record], of: Sequence[Record]) -> bool:
    rest: Iterator[Record] = iter(of)
    return all(any(record == other for other in rest) for record in some)


def append(path: Path, written: Sequence[Record]) -> None:
    with Journal(path) as journal:
        journal.append(written)


@patient
@given(journals)
def test_a_journal_replays_to_what_was_appended(path: Path, written: list[Record]) -> None:
    path.unlink(missing_ok=True)
    append(path, written[:1])
    append(path, written[1:])

    assert replay(path) == applied(written)


def test_a_journal_that_does_not_exist_has_an_empty_history(tmp_path: Path) -> None:
    assert replay(tmp_path / "none") == History()


@patient
@given(journals, st.data())
def test_any_prefix_replays_to_the_records_that_are_whole_in_it(
    path: Path, written: list[Record], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(encoded(written))))
    path.write_bytes(encoded(written)[:cut])
    whole = [n for n in range(len(written) + 1) if len(encoded(written[:n]).rstrip(b"\n")) <= cut][-1]

    history = replay(path)

    assert decoded(path) == written[:whole]
    assert history.bad_lines == (1 if cut > len(encoded(written[:whole])) else 0)
    history.bad_lines = 0
    assert history == applied(written[:whole])


@patient
@given(journals, st.data())
def test_a_damaged_byte_loses_its_line_alone(path: Path, written: list[Record], data: st.DataObject) -> None:
    intact = encoded(written)
    position = data.draw(st.integers(0, len(intact) - 1))
    change = data.draw(st.integers(1, 255))
    damaged = bytearray(intact)
    damaged[position] ^= change
    path.write_bytes(damaged)

    found = decoded(path)

    # A damaged newline joins two lines, so both are lost.
    assert is_subsequence(found, written)
    assert len(written) - len(found) <= (2 if intact[position] == ord("\n") else 1)
    history = replay(path)
    expected = applied(found)
    expected.bad_lines = history.bad_lines
    assert history == expected


@patient
@given(journals, st.lists(st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=40)), max_size=4))
def test_whatever_is_overwritten_replay_never_raises_and_invents_nothing(
    path: Path, written: list[Record], overwrites: list[tuple[int, bytes]]
) -> None:
    content = bytearray(encoded(written))
    for position, junk in overwrites:
        start = position % len(content)
        content[start : start + len(junk)] = junk
    path.write_bytes(content)

    replay(path)

    assert is_subsequence(decoded(path), written)


@patient
@given(st.binary(max_size=200))
def test_replay_of_anything_else_is_empty(path: Path, junk: bytes) -> None:
    path.write_bytes(junk)

    history = replay(path)

    assert not history.commits
    assert not history.attempts
    assert history.layout is None


@patient
@given(journals, journals, st.data())
def test_appending_after_a_torn_line_loses_nothing_else(
    path: Path, before: list[Record], after: list[Record], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(encoded(before))))
    path.write_bytes(encoded(before)[:cut])
    kept = decoded(path)

    append(path, after)

    assert decoded(path) == kept + after


def test_a_line_of_zeros_after_a_crash_is_one_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(encode(START) + bytes(4096))

    append(path, [END])

    assert decoded(path) == [START, END]
    assert replay(path).bad_lines == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"3", b"{}", b'{"type":"colour"}', b'{"type":"commit"}', b'{"type":"layout","outputs":[{}]}', b"\xff"],
)
def test_a_line_of_a_version_that_knows_other_records_counts_as_bad(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(xxhash.xxh3_64_hexdigest(body).encode() + b" " + body + b"\n" + encode(START))

    history = replay(path)

    assert history.bad_lines == 1
    assert len(history.attempts) == 1


def test_the_newest_commit_of_a_batch_counts() -> None:
    history = applied([Commit(0, 64, {"a": "old"}), Commit(64, 128, {"a": "x"}), Commit(0, 64, {"a": "new"})])

    assert {start: commit.hashes["a"] for start, commit in history.commits.items()} == {0: "new", 64: "x"}


def test_samples_are_counted_by_outcome() -> None:
    failed = (FailedSample(3, SampleFailureKind.LOAD, "gone"), FailedSample(5, SampleFailureKind.LOAD, "gone"))

    history = applied([Commit(0, 64, {"a": ""}, failed=failed), Commit(64, 100, {"a": ""})])

    assert (history.ok, history.failed) == (98, 2)
    assert [sample.row for sample in history.failed_samples] == [3, 5]


def test_a_retry_voids_the_batches_with_failed_samples_alone() -> None:
    failed = Commit(0, 64, {"a": ""}, failed=(FailedSample(3, SampleFailureKind.LOAD, "gone"),))
    fine = Commit(64, 128, {"a": ""})
    later = Commit(128, 192, {"a": ""}, failed=(FailedSample(130, SampleFailureKind.LOAD, ""),))

    history = applied([failed, fine, Retry(1.0), later])

    assert set(history.commits) == {64, 128}


def test_an_end_belongs_to_the_newest_attempt() -> None:
    second = AttemptStart(2, 1, 3.0, "host", 2)

    history = applied([START, second, END])

    assert [attempt.end for attempt in history.attempts] == [None, END]
    assert history.last == history.attempts[-1]


def test_an_end_without_a_start_is_ignored() -> None:
    assert applied([END]).last is None


def test_the_first_bytes_replay_the_same_while_the_journal_grows(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    append(path, [START, Commit(0, 64, {"a": ""})])
    size = path.stat().st_size
    before = replay(path)
    append(path, [Commit(64, 128, {"a": ""})])

    assert replay(path, size) == before
    assert len(replay(path).commits) == 2


@pytest.mark.parametrize("before", [0, 1, 300])
@pytest.mark.parametrize("message", ["", "ein Fehler", "☠" * 2000], ids=["short", "usual", "long"])
def test_the_end_is_read_from_the_last_line(tmp_path: Path, before: int, message: str) -> None:
    path = tmp_path / "journal"
    end = AttemptEnd(EndReason.FAILED, 2.0, 64, 0, FailureKind.ERROR, message)
    append(path, [START] * before + [end])

    assert JournalReader(path).end() == end


@pytest.mark.parametrize("after", [b"\n", b"\n\n"])
def test_the_end_is_found_before_empty_lines(tmp_path: Path, after: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(encode(END) + after)

    assert JournalReader(path).end() == END


@pytest.mark.parametrize(
    "content", [b"", b"\n", encode(START), encode(END) + encode(START), encode(END)[:-5], encode(END) + b"{"]
)
def test_there_is_no_end_where_the_last_line_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(content)

    assert JournalReader(path).end() is None


def test_a_growing_journal_gives_each_line_once_and_none_that_is_half_written(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    reader = JournalReader(path)
    assert reader.new_lines() == []
    line = encode(START)
    path.write_bytes(line + line[:20])
    assert reader.new_lines() == [line[:-1]]
    assert reader.new_lines() == []
    append(path, [END])  # a later writer ends the torn line
    assert reader.new_lines() == [line[:20], encode(END)[:-1]]


def test_the_history_of_a_growing_journal_is_that_of_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    reader = JournalReader(path)
    assert reader.history() == History()
    append(path, [START, Commit(0, 64, {"a": ""}), END])
    reader.history()
    append(path, [START, Commit(64, 128, {"a": ""})])
    assert reader.history() == replay(path)
    assert reader.history().before == 64


HOLDER = """
import sys
from pathlib import Path
from tests.support.launcher_runs import ROOT
from jobs.storage.journal import Journal
journal = Journal(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the journal ``held`` open."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "held")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_journal_that_another_process_has_open_is_refused(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(BusyError, match="held"):
        Journal(tmp_path / "held")

    assert is_running(tmp_path / "held")


def test_a_killed_process_leaves_no_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()

    assert not is_running(tmp_path / "held")
    append(tmp_path / "held", [START])
    assert decoded(tmp_path / "held") == [START]


def test_a_refused_open_leaves_no_descriptor(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(BusyError):
            Journal(tmp_path / "held")

    assert len(os.listdir("/proc/self/fd")) == before


def test_asking_whether_it_runs_takes_no_lock_and_makes_no_file(tmp_path: Path) -> None:
    assert not is_running(tmp_path / "journal")
    assert not (tmp_path / "journal").exists()

    with Journal(tmp_path / "journal"):
        assert is_running(tmp_path / "journal")
    assert not is_running(tmp_path / "journal")
