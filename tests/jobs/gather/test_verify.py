import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import pytest

from jobs.gather.gather import gather
from jobs.gather.redo import damaged_rows, failed_batches
from jobs.gather.verify import verify
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from tests.support.builders import (
    AttemptWriter,
    build_plan,
    build_run,
    damage,
    damage_commit,
    flip_byte,
    owner_of,
    submit,
    vectors,
    write_shard,
)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A gathered run of 64 samples in 3 shards; 6 samples failed, one batch of them as a whole."""
    ids = [f"sample {n}" for n in range(64)]
    run = build_run(tmp_path / "run", (0, 20, 50, 64), failed=[3, 16, 17, 18, 19, 22], ids=ids)
    gather(run)
    return run


@pytest.fixture
def part(tmp_path: Path) -> RunDir:
    """A run gathered as it was: one shard done, of one some batches, of one nothing."""
    run = build_plan(tmp_path / "run", (0, 16, 48, 64))
    write_shard(run, 0)
    write_shard(run, 1, batches=[32, 16], failed=[17], done=False)
    gather(run, allow_missing=True)
    return run


def test_a_run_as_it_was_made_is_intact(run: RunDir) -> None:
    report = verify(run)

    assert report.ok
    assert (report.shards, report.batches, report.bad_lines) == (3, 9, 0)
    assert report.result == run.result


def test_without_a_result_the_shards_alone_are_checked(run: RunDir) -> None:
    run.result.unlink()

    report = verify(run)

    assert report.ok
    assert report.result is None


def test_a_run_that_has_not_begun_is_intact(tmp_path: Path) -> None:
    report = verify(build_plan(tmp_path / "run", (0, 16)))

    assert report.ok
    assert report.batches == 0


def test_a_result_elsewhere_is_checked(run: RunDir, tmp_path: Path) -> None:
    output = tmp_path / "elsewhere.h5"
    gather(run, output=output)
    with h5py.File(output) as file:
        offset = file["vector"].id.get_offset()
    flip_byte(output, offset)

    assert verify(run).ok
    assert verify(run, output=output).result_problems == ("vector: rows 0-7",)


def test_progress_ends_with_all_rows_of_shards_and_result(run: RunDir) -> None:
    seen: list[tuple[int, int]] = []
    verify(run, progress=lambda done, total: seen.append((done, total)))

    assert seen == sorted(seen)
    assert seen[-1] == (128, 128)


def test_damage_in_a_shard_is_found_though_the_result_is_intact(run: RunDir) -> None:
    damage(run, 20, "vector")
    damage(run, 50, "text")

    report = verify(run)

    assert not report.ok
    assert [str(damage) for damage in report.damaged] == ["shard 1, rows 20-27: vector", "shard 2, rows 50-57: text"]
    assert report.result_problems == ()


def test_damage_in_a_shard_that_is_not_done_is_found(part: RunDir) -> None:
    damage(part, 32, "text")

    assert [str(damage) for damage in verify(part).damaged] == ["shard 1, rows 32-39: text"]


def test_a_deleted_data_file_is_damage_while_its_journal_tells_of_rows(run: RunDir) -> None:
    run.data(owner_of(run, 20), 0).unlink()

    report = verify(run)

    assert {damage.what for damage in report.damaged} == {("data file",)}
    assert [damage.start for damage in report.damaged] == [20, 28, 36, 44]


@pytest.mark.parametrize(("gone", "missing"), [("*", 64), ("one", 30)])
def test_a_complete_result_whose_attempts_are_gone_cannot_be_compared(run: RunDir, gone: str, missing: int) -> None:
    for path in [run.journal(owner_of(run, 20))] if gone == "one" else list(run.attempts.iterdir()):
        path.unlink()

    report = verify(run)

    assert report.missing == missing
    assert report.result_problems == (
        f"{run.result}: is complete, but cannot be compared: attempts/ has no commit of {missing} of its 64 samples",
    )


def test_a_damaged_commit_is_counted_and_its_rows_are_listed(run: RunDir) -> None:
    damage_commit(run, 28)

    report = verify(run)

    assert report.bad_lines == 1
    assert [str(damage) for damage in report.damaged] == ["shard 1, rows 28-35: journal"]


def test_a_torn_line_at_the_end_of_a_journal_is_no_damage(part: RunDir) -> None:
    with AttemptWriter(part, 1, 1) as writer:
        writer.commit(24, 32)
        writer.beat()
        writer.commit(40, 48)
    os.truncate(part.journal(writer.name), part.journal(writer.name).stat().st_size - 20)

    report = verify(part)

    assert report.ok
    assert report.bad_lines == 1


DATASETS = [
    "vector", "label", "flag", "tokens/values", "tokens/offsets", "boxes/values", "boxes/offsets", "text/values",
    "text/offsets", "blob/values", "blob/offsets", "id/values", "id/offsets", "status", "errors/row",
    "errors/attempts", "errors/kind/values", "errors/kind/offsets", "errors/message/values", "errors/message/offsets",
]  # fmt: skip


@pytest.mark.parametrize("name", DATASETS)
def test_any_damaged_byte_of_the_result_is_found(run: RunDir, name: str) -> None:
    with h5py.File(run.result) as file:
        offset, size = file[name].id.get_offset(), file[name].nbytes
    for position in range(0, size, max(size // 25, 1)):
        flip_byte(run.result, offset + position)

        report = verify(run)

        assert report.result_problems
        assert all(problem.startswith((name, name.rpartition("/")[0] or name)) for problem in report.result_problems)
        assert report.damaged == ()
        flip_byte(run.result, offset + position)
    assert verify(run).ok


def test_every_dataset_of_a_result_is_tested(run: RunDir) -> None:
    names: list[str] = []
    with h5py.File(run.result) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)

    assert sorted(names) == sorted(DATASETS)


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
def test_a_truncated_result_is_found(run: RunDir, share: float) -> None:
    os.truncate(run.result, int(run.result.stat().st_size * share))

    (problem,) = verify(run).result_problems

    assert f"{run.result}: HDF5 cannot read it" in problem


def test_a_result_that_lacks_a_dataset_is_found(run: RunDir) -> None:
    with h5py.File(run.result, "r+") as file:
        del file["text"]
        file["label"].parent.move("label", "other")

    problems = verify(run).result_problems

    assert {problem.partition(":")[0] for problem in problems} == {"text/values", "text/offsets", "label"}


def test_a_result_of_other_rows_is_found(run: RunDir, tmp_path: Path) -> None:
    other = build_run(tmp_path / "other", (0, 20, 50, 64), ids=[f"sample {n}" for n in range(64)])
    gather(other)
    run.result.write_bytes(other.result.read_bytes())

    assert "errors/row: is int64 [0], not <i8 [6]" in verify(run).result_problems


def test_an_incomplete_result_is_intact_as_it_is(part: RunDir) -> None:
    assert verify(part).ok


def test_an_incomplete_result_stays_intact_while_the_run_goes_on(part: RunDir) -> None:
    write_shard(part, 1, batches=[24, 40])
    write_shard(part, 2, failed=[50])

    assert verify(part).ok


@pytest.mark.parametrize("name", ["vector", "tokens/offsets", "status"])
def test_a_damaged_byte_among_the_missing_rows_is_found(part: RunDir, name: str) -> None:
    with h5py.File(part.result) as file:
        offset = file[name].id.get_offset() + 60 * file[name].dtype.itemsize * (4 if name == "vector" else 1)
    flip_byte(part.result, offset)

    assert [problem.partition(":")[0] for problem in verify(part).result_problems] == [name.partition("/")[0]]


def write_again(run: RunDir, plus: int, start: int = 8, *, bad: Sequence[int] = (), submission: int = 2) -> str:
    """A batch computed again, with other values."""
    with AttemptWriter(run, submission) as writer:
        writer.commit(start, start + 8, lambda rows: {"vector": vectors(rows)["vector"] + plus}, bad)
        writer.beat()
    return writer.name


def test_a_result_is_intact_that_holds_what_any_attempt_has(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 16), vectors)
    gather(run)
    write_again(run, 1)

    assert verify(run).ok

    gather(run)
    write_again(run, 2, submission=3)
    assert verify(run).ok
    with h5py.File(run.result) as file:
        flip_byte(run.result, file["vector"].id.get_offset() + 8 * 16)
    assert verify(run).result_problems == ("vector: rows 8-15",)


def test_a_result_is_intact_from_before_failed_samples_were_computed_again(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 24), vectors, failed=[9, 17, 20])
    gather(run)
    write_again(run, 0)

    assert verify(run).ok
    with h5py.File(run.result, "r+") as file:
        file["errors/row"][1] = 16
    assert [problem.partition(":")[0] for problem in verify(run).result_problems] == ["errors/row"]


def test_a_result_of_what_no_attempt_has_differs(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 16), vectors)
    gather(run)
    write_again(run, 1)
    run.journal("0001-00000-00000000").unlink()
    write_shard(run, 0, vectors, batches=[0])

    assert verify(run).result_problems == ("vector: rows 8-15",)


def test_a_damaged_batch_is_no_damage_where_another_attempt_has_it_intact(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 16), vectors)
    newer = write_again(run, 1)
    damage(run, 8, "vector", attempt=newer)

    report = verify(run)

    assert (report.ok, report.batches) == (True, 2)
    damage(run, 8, "vector", attempt="0001-00000-00000000")
    assert [str(damage) for damage in verify(run).damaged] == ["shard 0, rows 8-15: vector"]


# --- what is worth computing again


def test_rows_to_be_computed_again_are_damaged_ones_among_those_asked_for(run: RunDir) -> None:
    plan = Plan.read(run.plan)
    everywhere = Spans([(0, 64)])
    assert not damaged_rows(run, plan, everywhere)
    damage(run, 0, "tokens")
    damage(run, 30, "vector")
    damage_commit(run, 36)

    assert damaged_rows(run, plan, everywhere) == Spans.parse("0-7,28-43")
    assert damaged_rows(run, plan, Spans.parse("20-35,50-63")) == Spans.parse("28-35")
    assert not damaged_rows(run, plan, Spans())


def test_rows_that_nobody_has_done_are_not_damaged(part: RunDir) -> None:
    assert not damaged_rows(part, Plan.read(part.plan), Spans([(0, 64)]))


def failed_rows(run: RunDir, rows: Spans) -> Spans:
    commits = failed_batches(run, Plan.read(run.plan), rows)
    return Spans.of_numbers(sample.row for commit in commits for sample in commit.failed)


def test_failed_batches_are_those_of_the_commits_that_count(run: RunDir) -> None:
    assert failed_rows(run, Spans([(0, 64)])) == Spans.parse("3,16-19,22")
    assert failed_rows(run, Spans.parse("8-15,20-63")) == Spans.parse("22")

    submit(run, 2, rows=Spans.parse("16-19"))
    with AttemptWriter(run, 2) as writer:
        writer.commit(16, 20, bad=[18])
        writer.beat()

    assert failed_rows(run, Spans([(0, 64)])) == Spans.parse("3,18,22")
