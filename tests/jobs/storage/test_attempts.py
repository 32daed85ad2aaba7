import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.kinds import EndReason, FailureKind
from jobs.storage.attempts import (
    Attempt,
    AttemptReader,
    Attempts,
    by_precedence,
    known_layout,
    owners,
    read_commits,
    read_head,
)
from jobs.storage.beats import Beat
from jobs.storage.journal import encode
from jobs.storage.records import AttemptStart, Commit, Commits, FailedSample, Layout, Output
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from tests.support.builders import ELSEWHERE, AttemptWriter, build_plan, flip_byte, vectors

# The machine may be busy with other things.

START = AttemptStart(1, 0, 0, 0.0, "host", ELSEWHERE)
NAME = "0001-00000-00000000"


def beat(number: int, stop: int = 8, message: str = "") -> Beat:
    return Beat(number, 1.0, Spans([(0, stop)]), message=message)


def commits(count: int, first: int = 0) -> bytes:
    """So many lines, each of a commit."""
    return b"".join(encode(Commits((Commit(row, row + 1),))) for row in range(first, first + count))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / f"{NAME}.journal"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return build_plan(tmp_path / "run", (0, 16, 64))


# --- the last beat


def test_a_journal_that_is_gone_is_no_attempt(journal: Path) -> None:
    assert AttemptReader(journal).read() is None


def test_before_the_first_beat_nothing_is_done(journal: Path) -> None:
    journal.write_bytes(encode(START) + commits(3))

    found = AttemptReader(journal).read()

    assert found is not None
    assert (found.name, found.submission, found.start) == (NAME, 1, START)
    assert not found.beat.done
    assert not found.is_over


@pytest.mark.parametrize("before", [0, 1, 300])
@pytest.mark.parametrize("after", [0, 1, 10, 3000])
@pytest.mark.parametrize("message", ["", "ein Fehler", "☠" * 5000], ids=["short", "usual", "long"])
def test_the_last_beat_is_found_whatever_comes_before_and_after(
    journal: Path, before: int, after: int, message: str
) -> None:
    wanted = beat(2, 24, message)
    journal.write_bytes(
        encode(START) + encode(beat(0)) + commits(before) + encode(beat(1, 16)) + encode(wanted) + commits(after)
    )

    found = AttemptReader(journal).read()

    assert found is not None
    assert found.beat == wanted


@pytest.mark.parametrize("after", [b"", b"0123", encode(beat(9))[:-1], encode(beat(9))[:40], bytes(70_000), b"\n\n"])
def test_the_last_beat_is_found_before_a_torn_line(journal: Path, after: bytes) -> None:
    journal.write_bytes(encode(START) + encode(beat(0)) + encode(beat(1, 16)) + commits(2) + after)

    found = AttemptReader(journal).read()

    assert found is not None
    assert found.beat == beat(1, 16)


def test_a_damaged_beat_is_passed_over(journal: Path) -> None:
    journal.write_bytes(encode(START) + encode(beat(0)) + commits(500) + encode(beat(1, 16)) + commits(500))
    flip_byte(journal, len(encode(START) + encode(beat(0)) + commits(500)) + 60)

    found = AttemptReader(journal).read()

    assert found is not None
    assert found.beat == beat(0)


def test_what_looks_like_a_beat_within_a_message_is_none(journal: Path) -> None:
    failed = FailedSample(0, "LOAD", encode(beat(7, 99)).decode(), 1)  # type: ignore[arg-type]
    journal.write_bytes(
        encode(START) + encode(beat(0)) + encode(Commits((Commit(0, 1, failed=(failed,)),))) + encode(Beat(1, 1.0))[:-9]
    )

    found = AttemptReader(journal).read()

    assert found is not None
    assert found.beat == beat(0)


lines = st.lists(
    st.one_of(
        st.builds(lambda count: commits(count), st.integers(1, 40)),
        st.builds(lambda number, stop: encode(beat(number, stop)), st.integers(0, 9), st.integers(1, 99)),
        st.builds(lambda number: encode(beat(number, message="x" * 9000)), st.integers(10, 19)),
        st.builds(lambda size: b"\0" * size + b"\n", st.integers(1, 9000)),
    ),
    max_size=12,
)


@given(lines, st.data())
def test_a_journal_that_grows_reads_as_one_that_is_read_at_once(written: list[bytes], data: st.DataObject) -> None:
    content = encode(START) + b"".join(written)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=5)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{NAME}.journal"
        growing = AttemptReader(path)
        for cut in [*cuts, len(content)]:
            path.write_bytes(content[:cut])
            assert growing.read() == AttemptReader(path).read()
        found = growing.read()
        assert found is not None
        beats = [line for line in b"".join(written).split(b"\n") if b'"type":"beat"' in line]
        assert encode(found.beat)[:-1] == beats[-1] if beats else found.beat == Beat(0, 0.0)


def test_an_attempt_that_said_why_it_ended_is_over(run: RunDir) -> None:
    with AttemptWriter(run) as writer:
        writer.commit(0, 8)
        writer.beat()
        (attempt,) = Attempts(run).read()
        assert not attempt.is_over
    writer = AttemptWriter(run)
    writer.end(EndReason.FAILED, FailureKind.ERROR, "no", seconds=2.5)

    found = Attempts(run).read()[1]

    assert found.is_over
    assert (found.beat.end, found.beat.kind, found.beat.message) == (EndReason.FAILED, FailureKind.ERROR, "no")
    assert found.beat.seconds == 2.5


# --- the attempts of a run


def test_attempts_are_listed_by_name_and_by_submission(run: RunDir) -> None:
    for submission, worker in [(2, 0), (1, 3), (12, 0), (1, 0)]:
        AttemptWriter(run, submission, worker).close()
    (run.attempts / "0001-00000-00000000.0.data").touch()
    (run.attempts / ".0001-00007-00000000.journal").touch()
    (run.attempts / "notes.journal").touch()

    names = [attempt.name for attempt in Attempts(run).read()]

    assert names == ["0001-00000-00000000", "0001-00003-00000000", "0002-00000-00000000", "0012-00000-00000000"]
    assert [attempt.name for attempt in Attempts(run, 1).read()] == names[:2]


def test_attempts_come_and_go_between_two_looks(run: RunDir) -> None:
    attempts = Attempts(run)
    assert attempts.read() == []
    with AttemptWriter(run, 1, 1) as one, AttemptWriter(run, 1, 0) as other:
        one.commit(0, 8)
        one.beat()
        assert [attempt.beat.done.count for attempt in attempts.read()] == [0, 8]
        other.commit(16, 24)
        other.beat()
        assert [attempt.beat.done.count for attempt in attempts.read()] == [8, 8]
    run.journal(one.name).unlink()
    assert [attempt.name for attempt in attempts.read()] == [other.name]


def test_a_run_without_attempts_has_none(tmp_path: Path) -> None:
    assert Attempts(RunDir(tmp_path)).read() == []


# --- which of them counts


def attempt_of(name: str, done: Spans) -> Attempt:
    return Attempt(name, Path(f"{name}.journal"), None, Beat(0, 0.0, done))


spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=5).map(Spans)
names = st.builds("{:04d}-{:05d}-aaaa".format, st.integers(0, 4), st.integers(0, 4))
crowds = st.dictionaries(names, spans, max_size=8).map(lambda found: [attempt_of(*item) for item in found.items()])


@given(crowds)
def test_each_done_row_has_one_owner_the_newest_submissions_first_by_name(attempts: list[Attempt]) -> None:
    found: dict[int, str] = {}
    for one in owners(attempts):
        for row in one.rows.numbers:
            assert row not in found
            found[row] = one.attempt.name

    expected = {}
    for row in range(40):
        having = [attempt for attempt in attempts if row in attempt.beat.done]
        if having:
            newest = max(attempt.submission for attempt in having)
            expected[row] = min(attempt.name for attempt in having if attempt.submission == newest)
    assert found == expected


@given(crowds)
def test_an_owner_is_whole_when_all_that_it_has_done_counts(attempts: list[Attempt]) -> None:
    found = owners(attempts)

    assert [one.attempt for one in found] == [
        attempt for attempt in by_precedence(attempts) if attempt in [one.attempt for one in found]
    ]
    for one in found:
        assert one.is_whole == (one.rows.count == one.attempt.beat.done.count)
        assert not one.rows - one.attempt.beat.done


# --- what they have


def test_commits_are_those_that_the_last_beat_covers(run: RunDir) -> None:
    with AttemptWriter(run) as writer:
        for start in (8, 0, 16):
            writer.commit(start, start + 8)
        writer.beat(Spans([(0, 16)]))
    (attempt,) = Attempts(run).read()

    assert [commit.start for commit in read_commits(attempt)] == [8, 0]
    assert [commit.start for commit in read_commits(attempt, Spans([(0, 8), (16, 24)]))] == [0, 16]
    assert list(read_commits(attempt, Spans([(0, 8)]))) == [writer.commits[0]]


def test_the_head_has_the_layout_and_the_files_even_where_the_first_batches_failed(run: RunDir) -> None:
    with AttemptWriter(run, processes=2) as writer:
        writer.commit(0, 8, bad=range(8))
        writer.beat()
        (attempt,) = Attempts(run).read()
        assert read_head(attempt).layout is None
        assert known_layout([attempt]) is None
        writer.commit(8, 16, vectors, process=1)
        writer.beat()
    (attempt,) = Attempts(run).read()

    head = read_head(attempt)

    assert head.layout == known_layout([attempt]) == Layout((Output("vector", False, "<f4", (4,)),))
    assert head.files == {number: run.data(attempt.name, number) for number in range(2)}
