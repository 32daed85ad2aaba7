import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jobs.storage.attempts import read_head, read_records
from jobs.storage.blocks import BlockReader, BlockWriter, block_names
from jobs.storage.outputs import to_columns
from jobs.storage.records import Block, Commit, Commits, Layout, Output
from jobs.storage.rundir import RunDir
from tests.support.builders import attempt_named, build_plan, everything, flip_byte
from tests.support.launcher_runs import ROOT

BATCHES = {100: 116, 116: 132, 132: 140}
LAYOUT = Layout(tuple(column.form(name) for name, column in to_columns(everything(np.arange(4)), 4).items()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "0001-00000-00000000.0.data"


def write_batch(writer: BlockWriter, start: int) -> tuple[Block, ...]:
    stop = BATCHES[start]
    return writer.append(LAYOUT, to_columns(everything(np.arange(start, stop)), stop - start))


@pytest.fixture
def stored(path: Path) -> dict[int, tuple[Block, ...]]:
    """All batches, the last one first."""
    writer = BlockWriter(path, 0)
    found = {start: write_batch(writer, start) for start in reversed(BATCHES)}
    writer.close()
    return found


@pytest.fixture
def reader(path: Path) -> Iterator[BlockReader]:
    with BlockReader({0: path}) as reader:
        yield reader


def slot(name: str) -> int:
    """The first block of an output."""
    return block_names(LAYOUT).index(name)


def test_each_output_has_a_block_and_a_ragged_one_two() -> None:
    assert block_names(LAYOUT) == [
        "vector", "label", "flag", "tokens", "tokens", "boxes", "boxes", "text", "text", "blob", "blob",
    ]  # fmt: skip


def test_blocks_hold_the_rows_the_lengths_and_the_values(
    reader: BlockReader, stored: dict[int, tuple[Block, ...]]
) -> None:
    for start, stop in BATCHES.items():
        expected, blocks = everything(np.arange(start, stop)), stored[start]
        for name in ("vector", "label", "flag"):
            assert reader.read(blocks[slot(name)]) == expected[name].tobytes()
        lengths = np.frombuffer(reader.read(blocks[slot("tokens")]), np.int64)
        assert lengths.tolist() == [len(row) for row in expected["tokens"]]
        values = np.frombuffer(reader.read(blocks[slot("tokens") + 1]), np.int64)
        np.testing.assert_array_equal(values, np.concatenate(expected["tokens"]))
        assert bytes(reader.read(blocks[slot("text") + 1])).decode() == "".join(expected["text"])


def test_batches_lie_one_behind_the_other_in_the_order_of_writing(
    path: Path, stored: dict[int, tuple[Block, ...]]
) -> None:
    end = 0
    for blocks in stored.values():
        for block in blocks:
            assert block.offset == end
            end += block.size
    assert path.stat().st_size == end


def test_a_block_is_read_into_a_given_buffer(reader: BlockReader, stored: dict[int, tuple[Block, ...]]) -> None:
    buffer = memoryview(bytearray(1000))

    found = reader.read(stored[116][slot("label")], buffer)

    assert np.frombuffer(found, np.int16).tolist() == list(range(116, 132))
    assert found.obj is buffer.obj


def test_what_was_written_is_intact(reader: BlockReader, stored: dict[int, tuple[Block, ...]]) -> None:
    assert [reader.damaged(blocks) for blocks in stored.values()] == [[]] * len(BATCHES)


def test_any_damaged_byte_is_found(path: Path, reader: BlockReader, stored: dict[int, tuple[Block, ...]]) -> None:
    for blocks in stored.values():
        for at, block in enumerate(blocks):
            for position in range(block.offset, block.offset + block.size, 3):
                flip_byte(path, position)
                assert {start: found for start, one in stored.items() if (found := reader.damaged(one))} == {
                    next(start for start, one in stored.items() if one is blocks): [at]
                }
                flip_byte(path, position)


def test_a_truncated_file_is_damaged_from_there_on(
    path: Path, reader: BlockReader, stored: dict[int, tuple[Block, ...]]
) -> None:
    os.truncate(path, stored[116][slot("flag")].offset + 3)

    assert reader.damaged(stored[132]) == []
    assert reader.damaged(stored[116])[0] == slot("flag")
    assert reader.damaged(stored[100])[0] == 0


def test_a_file_that_is_gone_reads_as_nothing(path: Path, stored: dict[int, tuple[Block, ...]]) -> None:
    path.unlink()
    with BlockReader({0: path}) as reader:
        assert len(reader.read(stored[100][0])) == 0
        assert len(reader.read(Block(7, 0, 10, ""))) == 0
        assert 0 in reader.damaged(stored[100])


def test_rows_without_elements_are_stored(path: Path) -> None:
    writer = BlockWriter(path, 0)
    blocks = writer.append(Layout((Output("a", False, "<f4", (0,)),)), to_columns({"a": np.zeros((16, 0), "f4")}, 16))
    writer.close()

    with BlockReader({0: path}) as reader:
        assert not reader.damaged(blocks)


def test_a_writer_goes_on_after_what_its_predecessor_left(path: Path, stored: dict[int, tuple[Block, ...]]) -> None:
    with path.open("ab") as file:
        file.write(b"half a batch")
    size = path.stat().st_size
    writer = BlockWriter(path, 0)
    again = write_batch(writer, 100)
    writer.close()

    assert again[0].offset == size
    with BlockReader({0: path}) as reader:
        assert not any(map(reader.damaged, [*stored.values(), again]))


WRITER = """
import sys
from pathlib import Path
from tests.support.builders import AttemptWriter
from jobs.storage.rundir import RunDir
writer = AttemptWriter(RunDir(Path(sys.argv[1])))
for start in range(0, 100_000, 16):
    writer.commit(start, start + 16)
    print(start, flush=True)
"""


@pytest.mark.parametrize("seed", range(3))
def test_all_that_a_killed_process_committed_is_intact(tmp_path: Path, seed: int) -> None:
    run: RunDir = build_plan(tmp_path / "run", (0, 100_000), batch_size=16)
    command = [sys.executable, "-c", WRITER, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for _ in range(random.Random(seed).randint(1, 100)):
            seen = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)

    attempt = attempt_named(run, "0001-00000-00000000")
    commits: list[Commit] = []
    for record in read_records(attempt.journal):
        commits += record.commits if isinstance(record, Commits) else ()
    assert {commit.start for commit in commits} >= set(range(0, seen + 1, 16))
    with BlockReader(read_head(attempt).files) as reader:
        assert not any(reader.damaged(commit.blocks) for commit in commits)
