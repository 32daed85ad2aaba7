import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from jobs.storage.journal import replay
from jobs.storage.outputs import to_columns
from jobs.storage.records import Commit, Layout, Output, Shard
from jobs.storage.rundir import RunDir
from jobs.storage.shard_file import ALIGNMENT, ShardFile, create_shard_file
from tests.support.builders import everything, flip_byte
from tests.support.launcher_runs import ROOT

SHARD = Shard(3, 100, 140)
BATCHES = {start: min(start + 16, SHARD.stop) for start in SHARD.batches(16)}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "run")
    run.make()
    return run


@pytest.fixture
def layout(run: RunDir) -> Layout:
    columns = to_columns(everything(np.arange(4)), 4)
    return create_shard_file(run.shard_part(3), SHARD, [column.form(name) for name, column in columns.items()])


@pytest.fixture
def commits(run: RunDir, layout: Layout) -> list[Commit]:
    """The whole shard written, its last batch first."""
    with ShardFile.open(run, SHARD, layout, write=True) as file:
        return [write_batch(file, start) for start in reversed(BATCHES)]


def write_batch(file: ShardFile, start: int) -> Commit:
    stop = BATCHES[start]
    columns = to_columns(everything(np.arange(start, stop)), stop - start)
    return Commit(start, stop, *file.write(start, columns, file.value_ends()))


@pytest.fixture
def file(run: RunDir, layout: Layout, commits: list[Commit]) -> Iterator[ShardFile]:
    with ShardFile.open(run, SHARD, layout) as file:
        yield file


def test_hdf5_reads_the_rows_at_their_place_in_the_shard(run: RunDir, commits: list[Commit]) -> None:
    expected = everything(np.arange(SHARD.start, SHARD.stop))

    with h5py.File(run.shard_part(3)) as h5:
        for name in ("vector", "label", "flag"):
            np.testing.assert_array_equal(h5[name][()], expected[name])
            assert h5[name].dtype == expected[name].dtype
        assert h5["tokens/lengths"][()].tolist() == [len(row) for row in expected["tokens"]]
        assert dict(h5.attrs) == {"shard": 3, "start": 100, "stop": 140}


def test_datasets_are_contiguous_and_large_ones_begin_on_a_page(run: RunDir) -> None:
    outputs = [Output(name, False, "<f4", (512,)) for name in ("a", "b", "c")]
    layout = create_shard_file(run.shard_part(3), SHARD, outputs)

    with h5py.File(run.shard_part(3)) as h5:
        for output in layout.outputs:
            assert h5[output.name].chunks is None
            assert h5[output.name].id.get_offset() == output.offset
            assert output.offset % ALIGNMENT == 0


def test_a_new_file_has_its_full_size_and_takes_no_room(run: RunDir) -> None:
    create_shard_file(run.shard_part(3), SHARD, [Output("a", False, "<f8", (1 << 20,))])

    found = run.shard_part(3).stat()
    assert found.st_size > SHARD.rows << 23
    assert found.st_blocks * 512 < 1 << 20


def test_a_file_that_cannot_be_made_leaves_nothing(run: RunDir) -> None:
    with pytest.raises(TypeError):
        create_shard_file(run.shard_part(3), SHARD, [Output("a", False, "nonsense", ())])

    assert list(run.shards.iterdir()) == []


def test_rows_without_elements_are_stored(run: RunDir) -> None:
    layout = create_shard_file(run.shard_part(3), SHARD, [Output("a", False, "<f4", (0,))])
    with ShardFile.open(run, SHARD, layout, write=True) as file:
        hashes, segments = file.write(100, to_columns({"a": np.zeros((16, 0), np.float32)}, 16), {})

        assert not file.damaged(Commit(100, 116, hashes, segments))


def test_what_was_written_is_intact(file: ShardFile, commits: list[Commit]) -> None:
    assert [file.damaged(commit) for commit in commits] == [[]] * len(BATCHES)


def test_rows_are_read_into_a_given_buffer(file: ShardFile, commits: list[Commit]) -> None:
    label = next(output for output in file.layout.outputs if output.name == "label")
    buffer = memoryview(bytearray(1000))

    rows = file.read_rows(label, 110, 120, buffer)

    assert np.frombuffer(rows, np.int16).tolist() == list(range(110, 120))
    assert rows.obj is buffer.obj


def test_values_of_batches_lie_one_behind_the_other_in_the_order_of_writing(run: RunDir, commits: list[Commit]) -> None:
    for name in ("tokens", "text", "blob", "boxes"):
        end = 0
        for commit in commits:
            assert commit.segments[name].offset == end
            end += commit.segments[name].size
        assert run.values(3, name).stat().st_size == end


@pytest.mark.parametrize("name", ["vector", "label", "flag"])
def test_any_damaged_byte_of_a_fixed_output_is_found(
    run: RunDir, file: ShardFile, commits: list[Commit], name: str
) -> None:
    output = next(output for output in file.layout.outputs if output.name == name)
    for position in range(SHARD.rows * output.row_bytes):
        flip_byte(run.shard_part(3), output.offset + position)

        row = SHARD.start + position // output.row_bytes
        assert [(c.start, file.damaged(c)) for c in commits if file.damaged(c)] == [(row - (row - 100) % 16, [name])]
        flip_byte(run.shard_part(3), output.offset + position)


@pytest.mark.parametrize("name", ["tokens", "text"])
def test_any_damaged_byte_of_a_ragged_output_is_found(
    run: RunDir, file: ShardFile, commits: list[Commit], name: str
) -> None:
    offset = next(output.offset for output in file.layout.outputs if output.name == name)
    lengths = [(run.shard_part(3), offset + position) for position in range(SHARD.rows * 8)]
    values = [(run.values(3, name), position) for position in range(run.values(3, name).stat().st_size)]
    for path, position in lengths + values:
        flip_byte(path, position)

        assert [file.damaged(commit) for commit in commits if file.damaged(commit)] == [[name]]
        flip_byte(path, position)


def test_a_truncated_file_is_damaged_from_there_on(run: RunDir, file: ShardFile, commits: list[Commit]) -> None:
    vector = file.layout.outputs[0]
    os.truncate(run.shard_part(3), vector.offset + 20 * vector.row_bytes)

    damaged = {commit.start for commit in commits if "vector" in file.damaged(commit)}

    assert damaged == {116, 132}


def test_truncated_values_are_damaged(run: RunDir, file: ShardFile, commits: list[Commit]) -> None:
    os.truncate(run.values(3, "text"), commits[0].segments["text"].size)

    assert [file.damaged(commit) for commit in commits] == [[], ["text"], ["text"]]


def test_a_batch_without_results_cannot_be_damaged(file: ShardFile) -> None:
    assert file.damaged(Commit(100, 116, {})) == []


@pytest.mark.parametrize("gone", ["part", "values"])
def test_a_missing_file_is_an_error_and_leaves_no_descriptor(
    run: RunDir, layout: Layout, commits: list[Commit], gone: str
) -> None:
    path = run.shard_part(3) if gone == "part" else run.values(3, "text")
    path.unlink()
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(FileNotFoundError, match=path.name):
        ShardFile.open(run, SHARD, layout)

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_layout_of_the_same_outputs_is_the_same_again(run: RunDir, layout: Layout) -> None:
    run.shard_part(3).unlink()

    assert create_shard_file(run.shard_part(3), SHARD, [replace(o, offset=0) for o in layout.outputs]) == layout


WRITER = """
import sys
from pathlib import Path
from tests.support.builders import everything, ShardWriter
from jobs.storage.records import Shard
from jobs.storage.rundir import RunDir
shard = Shard(0, 0, 100_000)
writer = ShardWriter(RunDir(Path(sys.argv[1])), shard)
for start in shard.batches(16):
    writer.commit(start, start + 16, everything)
    print(start, flush=True)
"""


@pytest.mark.parametrize("seed", range(3))
def test_all_that_a_killed_process_committed_is_intact(run: RunDir, seed: int) -> None:
    command = [sys.executable, "-c", WRITER, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for _ in range(random.Random(seed).randint(1, 100)):
            seen = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)

    history = replay(run.journal(0))
    assert history.layout is not None
    assert set(range(0, seen + 1, 16)) <= set(history.commits)
    with ShardFile.open(run, Shard(0, 0, 100_000), history.layout) as file:
        assert not any(file.damaged(commit) for commit in history.commits.values())


def test_what_a_killed_writer_left_is_taken_over_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "000000.part.h5"
    left = path.with_name(f".{path.name}.tmp")
    left.write_bytes(b"half a file, longer than a whole one" * 1000)
    create_shard_file(path, Shard(0, 0, 4), [Output("y", False, "<f4", (2,))])
    assert not left.exists()
    with h5py.File(path) as file:
        assert file["y"].shape == (4, 2)
