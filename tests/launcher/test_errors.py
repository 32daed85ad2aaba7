"""``launcher errors``: each failed sample by its id, whether the run goes on, is done, or is gone but for its result."""

import json
import os
import pty
import shutil
import subprocess
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from jobs.kinds import SampleFailureKind
from jobs.storage.plans import Plan
from jobs.storage.records import Commit, FailedSample
from jobs.storage.spans import Spans
from launcher.runs.sample_errors import read_errors
from tests.support.builders import AttemptWriter, build_plan, build_run, submit
from tests.support.launcher_runs import command as line
from tests.support.launcher_runs import document, environment, in_process

IDS = [f"key{row + 500}" for row in range(64)]
BAD = [3, 16, 22, 60]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a run of three shards, all of it done, and its result alone elsewhere."""
    folder = tmp_path_factory.mktemp("errors")
    run = build_run(folder / "runs" / "toy", failed=BAD, ids=IDS)
    assert in_process(folder, "gather", "toy").returncode == 0
    shutil.copy(run.result, folder / "alone.h5")
    (folder / "config.yaml").write_text("name: toy\n")
    return folder


def told(folder: Path, *arguments: str) -> list[list[str]]:
    done = in_process(folder, "errors", *arguments)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.parametrize("what", ["toy", "runs/toy", "config.yaml", "alone.h5"])
def test_a_pipe_gets_a_line_each_with_id_row_kind_attempts_and_message(folder: Path, what: str) -> None:
    assert told(folder, what) == [[IDS[row], str(row), "LOAD", "2", f"cannot read sample {row}: ☠"] for row in BAD]


def test_of_one_shard(folder: Path) -> None:
    assert [row for _, row, *_ in told(folder, "toy", "--shard", "1")] == ["22"]
    for arguments, words in (
        (["toy", "--shard", "7"], "shards 0-2"),
        (["alone.h5", "--shard", "0"], "--shard is for a run"),
    ):
        done = in_process(folder, "errors", *arguments)
        assert done.returncode == 2
        assert words in done.stderr


def test_json_is_one_document(folder: Path) -> None:
    run = document(in_process(folder, "errors", "toy", "--json"))
    assert run["run"] == "runs/toy"
    first = {"id": "key503", "row": 3, "kind": "LOAD", "message": "cannot read sample 3: ☠", "attempts": 2}
    assert run["errors"][0] == {**first, "shard": 0}
    assert document(in_process(folder, "errors", "alone.h5", "--json"))["errors"][0] == first
    assert len(run["errors"]) == len(BAD)


def on_a_terminal(folder: Path, *arguments: str) -> str:
    master, slave = pty.openpty()
    with subprocess.Popen(line("errors", *arguments), cwd=folder, env=environment(), stdout=slave) as process:
        os.close(slave)
        text = b""
        while True:
            try:
                text += os.read(master, 4096)
            except OSError:  # nobody has the other end any more
                break
    os.close(master)
    assert process.returncode == 0
    return text.decode().replace("\r\n", "\n")


def test_a_terminal_gets_causes_and_where_they_are_few_each_sample(folder: Path) -> None:
    shown = on_a_terminal(folder, "toy")
    assert "toy: 4 samples failed\n" in shown
    assert "  LOAD, 4 samples (key503, key516, key522, ...): cannot read sample 3: ☠\n" in shown
    assert "    key560: row 60, LOAD, tried 2 times: cannot read sample 60: ☠\n" in shown


def test_a_terminal_is_told_how_to_get_each_where_they_are_many(tmp_path: Path) -> None:
    build_run(tmp_path / "runs" / "many", failed=range(40), ids=IDS)
    shown = on_a_terminal(tmp_path, "many")
    assert "many: 40 samples failed\n" in shown
    assert "key530" not in shown
    assert "launcher errors many | less" in shown


def test_while_the_run_goes_on_and_with_some_rows_done_again(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 16, 32), ids=IDS[:32])
    with AttemptWriter(run) as writer:
        writer.commit_all(Spans([(0, 24)]), bad=[3, 9, 20])
        writer.beat(Spans([(0, 16)]))  # what comes after it does not count yet
        submit(run, 2, rows=Spans([(0, 8)]))
        with AttemptWriter(run, 2) as again:
            again.commit(0, 8, bad=[5])
            again.beat()
        assert [(one.id, one.row) for one in read_errors(run, Plan.read(run.plan))] == [("key505", 5), ("key509", 9)]


def test_a_run_without_failures_says_so(tmp_path: Path) -> None:
    build_run(tmp_path / "runs" / "well", (0, 16))
    done = in_process(tmp_path, "errors", "well")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no sample has failed" in done.stderr
    assert json.loads(in_process(tmp_path, "errors", "well", "--json").stdout)["errors"] == []


def test_a_message_with_half_a_character_and_several_lines_is_one_line(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "runs" / "toy", (0, 8))
    with AttemptWriter(run) as writer:
        failed = FailedSample(0, SampleFailureKind.LOAD, "no file\n\t\udce4.jpg")
        writer.record(Commit(0, 8, failed=(failed, *failures(1, 8))))
        writer.beat()
    assert told(tmp_path, "toy")[0] == ["0", "0", "LOAD", "1", "no file \\udce4.jpg"]
    assert document(in_process(tmp_path, "errors", "toy", "--json"))["errors"][0]["message"] == failed.message


def test_a_pipe_gets_ids_as_they_are(tmp_path: Path) -> None:
    ids = [f"two  blanks {'long/' * 100}", " at the ends ", "a\ttab\nand a line", "\u200d\xa0", *map(str, range(4, 8))]
    build_run(tmp_path / "runs" / "toy", (0, 8), failed=range(4), ids=ids)
    assert [found[0] for found in told(tmp_path, "toy")] == [ids[0], ids[1], r"a\ttab\nand a line", ids[3]]


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all"])
def test_a_file_that_is_no_result_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.h5").write_bytes(content)
    done = in_process(tmp_path, "errors", "other.h5")
    assert done.returncode == 2
    assert "other.h5: not a result" in done.stderr


def failures(start: int, stop: int) -> Sequence[FailedSample]:
    return [FailedSample(row, SampleFailureKind.LOAD, f"{row}: {'x' * 400}") for row in range(start, stop)]


def test_very_many_are_told_in_little_memory(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 30_000), batch_size=100)
    with AttemptWriter(run) as writer:
        for start in range(0, 30_000, 100):
            writer.record(Commit(start, start + 100, failed=tuple(failures(start, start + 100))))
        writer.beat()
    del writer
    tracemalloc.start()
    for _ in read_errors(run, Plan.read(run.plan)):
        pass
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 << 20
