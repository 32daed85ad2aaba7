"""Shards: a run of very many costs what its attempts cost, and no file is read twice."""

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.kinds import EndReason, FailureKind, SampleFailureKind, ShardState
from jobs.storage.journal import decode
from jobs.storage.plans import Plan
from jobs.storage.records import Commit, FailedSample, Record
from jobs.storage.rundir import RunDir
from jobs.storage.shard_table import Shard
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings
from launcher.runs.shard_states import ShardReader, Shards
from launcher.runs.submissions import Outcome, read_submissions
from tests.support.builders import AttemptWriter, build_plan, submit

SHARDS = 2_000
ROWS = 4
WORKERS = 4


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Many shards of four rows in two batches; each worker has done all but the last of its own, and gave up another."""
    run = build_plan(tmp_path / "run", range(0, SHARDS * ROWS + 1, ROWS), batch_size=2, tasks=WORKERS)
    size = SHARDS * ROWS // WORKERS
    for worker in range(WORKERS):
        first = worker * size
        with AttemptWriter(run, worker=worker) as writer:
            writer.hold(first, first + size, worker)
            for start in range(first, first + size - 2, 2):
                writer.record(Commit(start, start + 2))
            writer.give_up(first // ROWS, FailureKind.ERROR, "no model")
            writer.beat(end=EndReason.STOPPED)
    return run


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of journals were read, a number a call."""
    counted: list[int] = []
    pread = os.pread

    def count(descriptor: int, size: int, offset: int) -> bytes:
        data = pread(descriptor, size, offset)
        counted.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", count)
    return counted


def reader_of(run: RunDir) -> Callable[[], Shards]:
    reader = ShardReader(run, Plan.read(run.plan))
    return lambda: reader.read(read_submissions(run))


def test_no_object_is_made_for_a_shard_unless_somebody_asks(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def count(index: int, start: int, stop: int) -> Shard:
        made.append(index)
        return Shard(index, start, stop)

    monkeypatch.setattr("jobs.storage.plans.Shard", count)
    shards = reader_of(run)()
    counts = {state: shards.count(state) for state in ShardState}
    assert counts == {"done": SHARDS - 2 * WORKERS, "failed": WORKERS, "running": 0, "pending": WORKERS}
    assert len(list(shards.failures())) == WORKERS
    assert made == []
    one = shards[1]
    assert (one.state, one.ok, made) == ("done", ROWS, [1])
    assert len(list(shards)) == SHARDS


def test_of_a_journal_its_top_and_its_end_are_read(run: RunDir, read_bytes: list[int]) -> None:
    lengths = [path.stat().st_size for path in run.attempts.glob("*.journal")]
    reader_of(run)()
    assert min(lengths) > 40_000
    assert sum(read_bytes) < WORKERS * 25_000
    assert len(read_bytes) <= 2 * WORKERS


def test_what_has_not_changed_is_not_read_again(run: RunDir, read_bytes: list[int]) -> None:
    read = reader_of(run)
    first = read()
    del read_bytes[:]
    assert read() is first
    assert read_bytes == []


def test_what_was_appended_alone_is_read_again(run: RunDir, read_bytes: list[int]) -> None:
    with AttemptWriter(run, worker=0) as writer:
        for start in range(0, SHARDS, 2):
            writer.record(Commit(start, start + 2))
        writer.beat()
        read = reader_of(run)
        read()
        del read_bytes[:]
        beat = writer.beat()
        assert read().attempts[1].beat == beat
    assert len(read_bytes) == 1
    assert read_bytes[0] < 2_000


def bad(row: int) -> FailedSample:
    return FailedSample(row, SampleFailureKind.LOAD, "cannot read")


def test_commits_are_read_once_of_an_attempt_some_of_whose_rows_do_not_count(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []

    def count(line: bytes) -> Record | None:
        if b'"commits"' in line:
            decoded.append(line)
        return decode(line)

    monkeypatch.setattr("jobs.storage.attempts.decode", count)
    submit(run, 2, tasks=1)
    with AttemptWriter(run, 2) as old:
        old.record(Commit(0, 2, failed=(bad(0),)), Commit(2, 4), Commit(4, 6, failed=(bad(5),), split=True))
        old.record(Commit(8, 10), Commit(10, 12))
        old.beat()
        with AttemptWriter(run, 3) as new:
            new.record(Commit(4, 6))
            new.beat()
        read = reader_of(run)
        assert (read().failed, len(decoded)) == (1, 1)
        assert (read().failed, len(decoded)) == (1, 1)
        old.record(Commit(12, 14, failed=(bad(12), bad(13))))
        assert (read().failed, len(decoded)) == (1, 1)  # not durable yet
        old.beat()
        shards = read()
        assert (shards.failed, len(decoded)) == (3, 2)
    assert [shard.failed for shard in list(shards)[:4]] == [1, 0, 0, 2]
    assert shards.samples_within(0, 4) == (3, 1)
    assert sum(one.samples for one in shards.failures()) == 3


def test_a_shard_over_its_budget_stays_failed_when_another_of_its_attempt_is_done_again(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 4, 8), batch_size=4, tasks=1, node=NodeSettings(max_failed_samples=1))
    with AttemptWriter(run) as first:
        first.record(Commit(0, 4, failed=(bad(0), bad(1))), Commit(4, 8, failed=(bad(5),)))
        first.beat(end=EndReason.DONE)
    submit(run, 2, rows=Spans([(4, 8)]), tasks=1)
    with AttemptWriter(run, 2) as again:
        again.record(Commit(4, 8))
        again.beat(end=EndReason.DONE)
    for number in (1, 2):
        Outcome(0.0).write(run, number)
    shards = reader_of(run)()
    assert [shard.state for shard in shards] == ["failed", "done"]
    assert shards.sufficient_budget == "2"


def test_while_rows_are_open_only_any_number_of_failed_samples_suffices(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 4, 8), batch_size=4, tasks=1, node=NodeSettings(max_failed_samples=1))
    with AttemptWriter(run) as first:
        first.record(Commit(0, 4, failed=(bad(0), bad(1))))
        first.beat(end=EndReason.STOPPED)
    Outcome(0.0).write(run, 1)
    assert reader_of(run)().sufficient_budget == "1.0"


def test_what_is_kept_of_failed_samples_is_small_however_long_their_messages_are(tmp_path: Path) -> None:
    """Some of their rows were done again, so that the commits have to be read."""
    run = build_plan(tmp_path / "run", range(0, 60_001, 100), batch_size=100, tasks=1)
    with AttemptWriter(run) as first:
        for start in range(0, 60_000, 100):
            rows = range(start, start + 100)
            samples = (FailedSample(row, SampleFailureKind.LOAD, f"{row}: {'x' * 400}") for row in rows)
            first.record(Commit(start, start + 100, failed=tuple(samples)))
        first.commits = {start: Commit(start, start + 100) for start in range(0, 60_000, 100)}  # counts of its own
        first.beat(end=EndReason.DONE, failed=60_000, failures=())
    submit(run, 2, rows=Spans([(0, 100)]), tasks=1)
    with AttemptWriter(run, 2) as again:
        again.record(Commit(0, 100))
        again.beat(end=EndReason.DONE)
    read = reader_of(run)
    tracemalloc.start()
    shards = read()
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (shards.failed, shards[1].failed) == (59_900, 100)
    assert kept < 4 << 20
    assert most < 16 << 20
