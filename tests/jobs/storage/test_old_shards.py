"""Runs of versions that kept a journal and a file for each shard: read as attempts, and imported once."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import RunError
from jobs.kinds import EndReason, FailureKind
from jobs.storage import old_shards
from jobs.storage.attempts import Attempt, Attempts, owners, read_commits, read_head
from jobs.storage.blocks import BlockReader
from jobs.storage.old_run import import_run, old_log_paths
from jobs.storage.plans import FORMAT, Plan
from jobs.storage.records import Commit, JobSpec, Layout
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans, union

VERSION = Path(__file__).parents[2] / "old_runs" / "version-0.1.0" / "runs"
RUNS = ["cancelled", "done", "killed", "slurm"]
ROWS, SHARD, BATCH = 24, 8, 4
HALF, LENGTHS = 64, 64 + SHARD * 8
"""Where the rows of each output begin in the shard files that these tests make."""


@pytest.fixture(params=RUNS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> RunDir:
    """A run that version 0.1.0 made."""
    shutil.copytree(VERSION / request.param, tmp_path / request.param)
    return RunDir(tmp_path / request.param)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run of three shards of two batches each that the version before planned."""
    return make_run(tmp_path / "run")


def make_run(path: Path) -> RunDir:
    run = RunDir(path)
    run.make()
    run.old_shards.mkdir()
    boundaries = tuple(range(0, ROWS + 1, SHARD))
    Plan("run", "f", 0.0, ROWS, None, boundaries, JobSpec("x:X"), BATCH, 0, {}, format=1).write(run.plan)
    return run


class OldWriter:
    """Writes a shard as the version before did: half of each row's number, and as many of it as its rest by three."""

    def __init__(self, run: RunDir, shard: int, name: str = "part.h5") -> None:
        self.run = run
        self.shard = shard
        self.rows = run.old_shards / f"{shard:06d}.{name}"
        self.values = run.old_shards / f"{shard:06d}.many.values"
        self.journal = run.old_shards / f"{shard:06d}.journal"

    def line(self, record: dict[str, Any]) -> None:
        body = json.dumps(record).encode()
        with self.journal.open("ab") as file:
            file.write(xxhash.xxh3_64_hexdigest(body).encode() + b" " + body + b"\n")

    def start(self, submission: int = 1, *, layout: bool = True, dtype: str = "<f8") -> None:
        self.line({"type": "start", "attempt": 1, "submission": submission, "time": 5.0, "host": "n1", "pid": 7})
        if layout:
            half = {"name": "half", "ragged": False, "dtype": dtype, "shape": [], "encoding": None, "offset": HALF}
            many = {"name": "many", "ragged": True, "dtype": "<i4", "shape": [], "encoding": None, "offset": LENGTHS}
            self.line({"type": "layout", "outputs": [half, many]})

    def commit(self, start: int, factor: float = 0.5, failed: int = 0) -> None:
        """Rows ``[start, start + BATCH)``, the first ``failed`` of which failed."""
        rows = np.arange(start, start + BATCH)
        half, lengths = rows * factor, rows % 3
        values = np.repeat(rows, lengths).astype(np.int32)
        end = self.values.stat().st_size if self.values.exists() else 0
        self._write(self.rows, HALF + (start % SHARD) * 8, half)
        self._write(self.rows, LENGTHS + (start % SHARD) * 8, lengths)
        self._write(self.values, end, values)
        segment = [end, values.nbytes, xxhash.xxh3_64_hexdigest(values.tobytes())]
        hashes = {
            "half": xxhash.xxh3_64_hexdigest(half.tobytes()),
            "many": xxhash.xxh3_64_hexdigest(lengths.tobytes()),
        }
        record = {"type": "commit", "start": start, "stop": start + BATCH, "hashes": hashes}
        samples = [[start + at, "LOAD", "ValueError: no", 1] for at in range(failed)]
        self.line({**record, "segments": {"many": segment}, "failed": samples, "seconds": 0.5})

    @staticmethod
    def _write(path: Path, offset: int, array: np.ndarray) -> None:
        path.touch()
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(array.tobytes())

    def end(self, reason: str = "done", kind: str | None = None, **more: Any) -> None:
        ended = {
            "type": "end",
            "reason": reason,
            "time": 9.0,
            "ok": 0,
            "failed": 0,
            "kind": kind,
            "message": "so it is",
        }
        self.line({**ended, "seconds": 2.0, "cpus": 2, "cpu_seconds": 1.0, **more})


def stored(attempts: list[Attempt]) -> dict[int, dict[str, Any]]:
    """Output values of all batches that count, by first row; each block has to be as it was written."""
    found: dict[int, dict[str, Any]] = {}
    for ownership in owners(attempts):
        layout, files = read_head(ownership.attempt)
        for commit in read_commits(ownership.attempt, ownership.rows):
            with BlockReader(files) as reader:
                assert reader.damaged(commit.blocks) == []
                found[commit.start] = dict(values(layout or Layout(()), commit, reader))
    return found


def values(layout: Layout, commit: Commit, reader: BlockReader) -> Iterator[tuple[str, Any]]:
    blocks = iter(commit.blocks)
    for output in layout.outputs if commit.blocks else ():
        rows = np.frombuffer(reader.read(next(blocks)), "<i8" if output.ragged else output.dtype)
        if output.ragged:
            items = np.split(np.frombuffer(reader.read(next(blocks)), output.dtype), np.cumsum(rows)[:-1])
            yield output.name, [row.tolist() for row in items]
        else:
            # None for NaN, which is not equal to itself.
            yield output.name, [None if np.isnan(number) else number for number in rows.tolist()]


def files(run: RunDir) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in run.path.rglob("*") if path.is_file()}


def committed(run: RunDir) -> dict[int, tuple[int, list[Any]]]:
    """Stop and failed samples of each batch, told by the lines of the old journals alone."""
    found: dict[int, tuple[int, list[Any]]] = {}
    for path in sorted(run.old_shards.glob("*.journal")):
        records = [json.loads(line.partition(b" ")[2]) for line in path.read_bytes().splitlines()]
        found |= {r["start"]: (r["stop"], r.get("failed", [])) for r in records if r["type"] == "commit"}
    return found


def done(attempts: list[Attempt]) -> Spans:
    return union(attempt.beat.done for attempt in attempts)


def test_an_old_run_is_read_as_attempts_and_stays_as_it_is(old: RunDir) -> None:
    before = files(old)
    attempts = Attempts(old).read()
    expected = committed(old)
    assert done(attempts) == Spans((start, stop) for start, (stop, _) in expected.items())
    assert sum(attempt.beat.failed for attempt in attempts) == sum(len(failed) for _, failed in expected.values())
    found = stored(attempts)
    assert found.keys() == expected.keys()
    for start, (stop, failed) in expected.items():
        ok = set(range(start, stop)) - {row for row, *_ in failed}
        halves = zip(found[start]["half"][::2], found[start]["half"][1::2], strict=True)
        lists = zip(range(start, stop), halves, found[start]["below"], found[start]["name"], strict=True)
        for row, half, below, name in lists:
            if row in ok:
                assert half == (row / 2, row * 2)
                assert below == list(range(row % 5))
                assert bytes(name).decode() == f"number {row}"
    assert files(old) == before


def test_what_is_imported_is_what_readers_saw(old: RunDir) -> None:
    before, data = Attempts(old).read(), stored(Attempts(old).read())
    import_run(old)
    after = Attempts(old).read()
    assert [attempt.journal.parent for attempt in after] == [old.attempts] * len(after)
    assert [(one.name, one.start) for one in after] == [(one.name, one.start) for one in before]
    assert [(one.beat.done, one.beat.end, one.beat.failures) for one in after] == [
        (one.beat.done, one.beat.end, one.beat.failures) for one in before
    ]
    assert stored(after) == data
    head = read_head(after[0])
    assert Layout.from_json(json.loads(old.layout.read_text())) == head.layout


def test_an_import_survives_that_the_run_is_moved(old: RunDir) -> None:
    import_run(old)
    data = stored(Attempts(old).read())
    moved = RunDir(old.path.rename(old.path.with_name("moved")))
    assert stored(Attempts(moved).read()) == data


def test_an_older_version_refuses_the_run_then(old: RunDir) -> None:
    import_run(old)
    assert json.loads(old.plan.read_text())["format"] == Plan.read(old.plan).format == FORMAT > 2


def test_launchers_that_import_at_once_or_again_write_the_same(old: RunDir) -> None:
    plan = old.plan.read_bytes()
    import_run(old)
    first = files(old)
    import_run(old)
    assert files(old) == first
    old.plan.write_bytes(plan)  # as the slower of the two read it
    import_run(old)
    assert {name: data for name, (data, _) in files(old).items()} == {name: data for name, (data, _) in first.items()}


def test_claims_say_which_shards_it_worked_at_and_where_in_the_journal_their_commits_begin(run: RunDir) -> None:
    for shard, submissions in ((0, (1,)), (1, (1, 2)), (2, (2, 1))):
        writer = OldWriter(run, shard)
        for submission in submissions:
            writer.start(submission)
        writer.commit(shard * SHARD)
    import_run(run)
    first, second = Attempts(run).read()
    assert [(held.start, held.stop) for held in first.beat.claims] == [(0, ROWS)]
    assert [(held.start, held.stop) for held in second.beat.claims] == [(SHARD, ROWS)]
    for attempt, row in ((first, 0), (second, SHARD)):
        text = attempt.journal.read_bytes()[attempt.beat.claims[0].journal :]
        assert json.loads(text.partition(b"\n")[0].partition(b" ")[2])["commits"][0][0] == row


def test_each_submission_becomes_an_attempt_that_has_what_counts_of_it(run: RunDir) -> None:
    writer = OldWriter(run, 0)
    writer.start(1)
    writer.commit(0)
    writer.commit(4, failed=1)
    writer.end("stopped")
    writer.line({"type": "retry", "time": 8.0})
    writer.start(3, layout=False)
    writer.commit(4, factor=2.0)
    writer.end()
    first, second = Attempts(run).read()
    assert (first.name, first.beat.done, first.beat.failed) == ("0001-import", Spans([(0, 4)]), 0)
    assert (second.name, second.beat.done, second.beat.end) == ("0003-import", Spans([(4, 8)]), EndReason.DONE)
    assert stored([first, second])[4]["half"] == [8.0, 10.0, 12.0, 14.0]


def test_commits_with_failed_samples_are_void_after_a_retry(run: RunDir) -> None:
    writer = OldWriter(run, 1, "h5")
    writer.start()
    writer.commit(8, failed=2)
    writer.commit(12)
    writer.line({"type": "retry", "time": 8.0})
    assert done(Attempts(run).read()) == Spans([(12, 16)])


def test_the_newest_commit_of_a_batch_counts(run: RunDir) -> None:
    writer = OldWriter(run, 0)
    writer.start()
    writer.commit(0)
    writer.commit(0, factor=3.0)
    (attempt,) = Attempts(run).read()
    assert stored([attempt])[0]["half"] == [0.0, 3.0, 6.0, 9.0]
    assert attempt.beat.ok == 4


def test_failures_are_counted_by_cause_and_for_shards_that_are_not_whole(run: RunDir) -> None:
    for shard, batches in ((0, (0, 4)), (1, (8,))):
        writer = OldWriter(run, shard)
        writer.start()
        for start in batches:
            writer.commit(start, failed=1)
    (attempt,) = Attempts(run).read()
    assert (attempt.beat.ok, attempt.beat.failed, attempt.beat.shared) == (9, 3, {1: 1})
    assert [(group.samples, str(group.shards)) for group in attempt.beat.failures] == [(3, "0-1")]


def test_a_shard_whose_last_attempt_failed_is_given_up(run: RunDir) -> None:
    for shard, reason, kind in ((0, "failed", "OUT_OF_MEMORY"), (1, "stopped", None)):
        writer = OldWriter(run, shard)
        writer.start()
        writer.end(reason, kind)
    (attempt,) = Attempts(run).read()
    assert [(one.shard, one.kind, one.message) for one in attempt.beat.given_up] == [
        (0, FailureKind.OUT_OF_MEMORY, "so it is")
    ]
    assert attempt.beat.end is EndReason.STOPPED


def test_without_a_trace_of_one_end_the_attempt_has_none_and_its_process_is_dead(run: RunDir) -> None:
    for shard in (0, 1):
        OldWriter(run, shard).start()
    OldWriter(run, 0).end()
    (attempt,) = Attempts(run).read()
    assert not attempt.is_over
    assert attempt.start is not None
    assert attempt.start.process == {"host": "n1", "boot": "", "pid": 7, "start": 0}


def test_use_is_that_of_the_longest_attempt_and_the_most_memory_of_any(run: RunDir) -> None:
    for shard, seconds, peak in ((0, 1.0, 30), (1, 7.0, 10), (2, 2.0, 20)):
        writer = OldWriter(run, shard)
        writer.start()
        writer.end(seconds=seconds, peak_memory=peak, gpu_use=seconds / 10)
    (attempt,) = Attempts(run).read()
    beat = attempt.beat
    assert (beat.seconds, beat.cpu_seconds, beat.cpus, beat.peak_memory, beat.gpu_use) == (7.0, 1.0, 2, 30, 0.7)


def test_a_batch_all_of_whose_samples_failed_needs_no_file(run: RunDir) -> None:
    writer = OldWriter(run, 0)
    writer.start(layout=False)
    samples = [[row, "LOAD", "no", 1] for row in range(4)]
    writer.line({"type": "commit", "start": 0, "stop": 4, "hashes": {}, "failed": samples, "seconds": 0.1})
    (attempt,) = Attempts(run).read()
    assert (attempt.beat.done, attempt.beat.ok, attempt.beat.failed) == (Spans([(0, 4)]), 0, 4)


def lose_layout(writer: OldWriter) -> None:
    lines = writer.journal.read_bytes().splitlines(keepends=True)
    writer.journal.write_bytes(b"".join(line for line in lines if b'"layout"' not in line))


def lose_files(writer: OldWriter) -> None:
    writer.rows.unlink()


def lose_journal(writer: OldWriter) -> None:
    writer.journal.unlink()


def tear_journal(writer: OldWriter) -> None:
    writer.journal.write_bytes(writer.journal.read_bytes()[:-7])


def overlap(writer: OldWriter) -> None:
    lose_journal(writer)
    writer.start()
    writer.line({"type": "commit", "start": 9, "stop": 13, "hashes": {}, "failed": []})


@pytest.mark.parametrize("lose", [lose_layout, lose_files, lose_journal, tear_journal, overlap])
def test_what_no_commit_tells_of_any_more_is_missing(run: RunDir, lose: Any) -> None:
    for shard, name in ((0, "h5"), (1, "h5")):
        writer = OldWriter(run, shard, name)
        writer.start()
        writer.commit(shard * SHARD)
    lose(writer)
    assert done(Attempts(run).read()) == Spans([(0, 4)])


def test_a_shard_with_other_outputs_than_the_most_is_missing(run: RunDir) -> None:
    for shard, dtype in ((0, "<i8"), (1, "<f8"), (2, "<f8")):
        writer = OldWriter(run, shard)
        writer.start(dtype=dtype)
        writer.commit(shard * SHARD)
    assert done(Attempts(run).read()) == Spans([(8, 12), (16, 20)])


def test_what_a_crash_of_the_node_has_lost_is_not_imported(run: RunDir) -> None:
    for shard in (0, 1):
        writer = OldWriter(run, shard)
        writer.start()
        writer.commit(shard * SHARD)
        writer.commit(shard * SHARD + 4)
        with writer.rows.open("r+b") as file:
            file.truncate(HALF + 4 * 8)
            file.truncate(LENGTHS + SHARD * 8)
    writer.end()  # before which all was synced: damage since then is for gather and verify to tell
    import_run(run)
    assert done(Attempts(run).read()) == Spans([(8, 16)])


def test_a_reader_sees_an_old_journal_grow_and_then_the_import(run: RunDir) -> None:
    writer = OldWriter(run, 0)
    writer.start()
    writer.commit(0)
    reader = Attempts(run)
    assert done(reader.read()) == Spans([(0, 4)])
    writer.commit(4)
    assert done(reader.read()) == Spans([(0, 8)])
    import_run(run)
    (attempt,) = reader.read()
    assert (attempt.journal.parent, attempt.beat.done) == (run.attempts, Spans([(0, 8)]))


def test_what_old_array_tasks_store_after_the_import_is_not_seen(run: RunDir) -> None:
    writer = OldWriter(run, 0)
    writer.start()
    writer.commit(0)
    import_run(run)
    writer.commit(4)
    assert done(Attempts(run).read()) == Spans([(0, 4)])


def test_a_run_that_was_only_planned_is_imported_too(run: RunDir) -> None:
    import_run(run)
    assert Attempts(run).read() == []
    assert Plan.read(run.plan).format == FORMAT
    assert not run.layout.exists()


def test_a_run_of_this_version_is_not_looked_at(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    run.old_shards.rmdir()
    monkeypatch.setattr(old_shards, "write_attempts", None)
    assert Attempts(run).read() == []


def test_the_log_of_a_shard_is_that_of_the_first_in_its_group(run: RunDir) -> None:
    run.submission(1).write_text(json.dumps({"groups": [[0, 2], [1]]}))
    run.submission(2).write_text(json.dumps({"groups": [[2]]}))
    run.submission(3).write_text(json.dumps({"tasks": 2, "rows": "0-7"}))
    for name in ("000000.log", "000002.log"):
        (run.logs / name).write_text("words")
    assert old_log_paths(run, Spans.parse("2")) == [run.logs / "000000.log", run.logs / "000002.log"]
    assert old_log_paths(run, Spans.parse("1")) == []


@settings(max_examples=50, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from("cfrsd"), st.integers(0, 1), st.integers(1, 3))))
def test_what_counts_is_what_the_old_rules_say(
    steps: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Commits, commits with failures, retries, starts of later submissions and damaged lines, in any order."""
    run = make_run(tmp_path_factory.mktemp("old") / "run")
    writer = OldWriter(run, 0)
    writer.start()
    owner: dict[int, tuple[int, bool]] = {}
    submission = 1
    for step, batch, number in steps:
        match step:
            case "c" | "f":
                writer.commit(batch * BATCH, factor=number, failed=int(step == "f"))
                owner[batch * BATCH] = submission, step == "f"
            case "r":
                writer.line({"type": "retry", "time": 1.0})
                owner = {start: one for start, one in owner.items() if not one[1]}
            case "s":
                submission = max(submission, number)
                writer.start(submission, layout=False)
            case "d":
                with writer.journal.open("ab") as file:
                    file.write(b"0123456789abcdef {}\n")
    attempts = Attempts(run).read()
    assert {start: attempt.submission for attempt in attempts for start, _ in batches(attempt)} == {
        start: number for start, (number, _) in owner.items()
    }
    assert stored(attempts).keys() == owner.keys()
    assert sum(attempt.beat.failed for attempt in attempts) == sum(failed for _, failed in owner.values())


def batches(attempt: Attempt) -> Iterator[tuple[int, int]]:
    return ((start, start + BATCH) for rows in attempt.beat.done for start in range(*rows, BATCH))


def test_a_plan_of_a_newer_version_is_refused(run: RunDir) -> None:
    run.plan.write_text(run.plan.read_text().replace('"format": 1', '"format": 5'))
    with pytest.raises(RunError):
        import_run(run)
