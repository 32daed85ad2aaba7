import os
from pathlib import Path

import h5py
import pytest

from jobs.gather.gather import gather
from jobs.gather.verify import verify
from jobs.storage.journal import replay
from jobs.storage.rundir import RunDir
from tests.support.builders import build_plan, build_run, flip_byte, vectors, write_shard


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
    history = replay(run.journal(1))
    assert history.layout is not None
    flip_byte(run.shard_done(1), history.layout.outputs[0].offset)
    flip_byte(run.values(2, "text"), 0)

    report = verify(run)

    assert not report.ok
    assert [str(damage) for damage in report.damaged] == ["shard 1, rows 20-27: vector", "shard 2, rows 50-57: text"]
    assert report.result_problems == ()


def test_damage_in_a_shard_that_is_not_done_is_found(part: RunDir) -> None:
    flip_byte(part.values(1, "text"), 0)

    assert [str(damage) for damage in verify(part).damaged] == ["shard 1, rows 32-39: text"]


def test_a_deleted_shard_file_is_damage_while_its_journal_tells_of_rows(run: RunDir) -> None:
    run.shard_done(1).unlink()

    report = verify(run)

    assert {damage.what for damage in report.damaged} == {("shard file",)}
    assert [damage.start for damage in report.damaged] == [20, 28, 36, 44]


def test_a_damaged_commit_is_counted_and_its_rows_are_listed(run: RunDir) -> None:
    lines = run.journal(1).read_bytes().split(b"\n")
    number = next(n for n, line in enumerate(lines) if b'"start":28,' in line)
    flip_byte(run.journal(1), len(b"\n".join(lines[:number])) + 40)

    report = verify(run)

    assert report.bad_lines == 1
    assert [str(damage) for damage in report.damaged] == ["shard 1, rows 28-35: journal"]


def test_a_torn_journal_of_a_shard_that_is_not_done_is_no_damage(part: RunDir) -> None:
    os.truncate(part.journal(1), part.journal(1).stat().st_size - 20)

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


def test_a_result_from_before_a_shard_was_computed_again_differs(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 16), vectors)
    gather(run)
    run.shard_done(0).rename(run.shard_part(0))
    write_shard(run, 0, lambda rows: {"vector": vectors(rows)["vector"] + 1}, batches=[8])

    assert verify(run).result_problems == ("vector: rows 8-15",)
