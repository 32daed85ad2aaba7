"""output.max_file_size and output.compression, from the config to the commands that take a result."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from jobs.gather import volumes
from jobs.gather.gather import gather
from jobs.gather.result_index import read_index
from jobs.gather.verify import verify
from jobs.storage.rundir import RunDir
from jobs.storage.submission import ResultForm, Submission
from launcher import results
from launcher.cli import main
from tests.support.builders import build_run, everything
from tests.support.instant_executor import command, go_on, instant_executor
from tests.support.launcher_runs import datasets, run_of, write_config


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of a run that is complete, with a result in several files."""
    monkeypatch.setattr(volumes, "_HEAD", (1 << 20) - 3000)  # so that no more is left for rows
    monkeypatch.setattr(volumes, "_EACH", 0)
    config = write_config(tmp_path, job="Everything", name="split", output={"max_file_size": "1M"})
    with instant_executor():
        code, said = go_on(config)
        assert code == 0, said
        yield config


def test_a_run_whose_result_is_several_files_is_complete(config: Path) -> None:
    run = run_of(config)
    files = read_index(run.result)
    assert len(files) > 2
    code, said = command("status", run.path, "--json")
    assert (code, json.loads(said)["state"]) == (0, "complete")
    code, said = command("verify", run.path)
    assert code == 0
    assert f"result: {run.result}, intact" in said
    code, said = command("gather", run.path)
    assert code == 0
    assert f"in {len(files)} files)" in said
    assert go_on(config)[0] == 0
    files[1].path.unlink()
    code, said = command("verify", run.path)
    assert code == 1
    assert f"{files[1].path}: no such file: it has rows {files[1].start}-{files[1].stop - 1}" in said


def test_of_a_run_that_is_cleaned_all_files_stay(config: Path) -> None:
    run = run_of(config)
    files = [file.path for file in read_index(run.result)]
    damaged = files[2].read_bytes()
    with h5py.File(files[2]) as file:
        place = file["label"].id.get_offset()
    files[2].write_bytes(damaged[:place] + b"\xff" + damaged[place + 1 :])
    code, said = command("clean", run.path, "--yes")
    assert code == 1
    assert "not all of it is intact" in said
    files[2].write_bytes(damaged)
    left = run.path / ".result-0badca-00000.h5"
    left.write_bytes(b"of a gather that was killed")
    assert command("clean", run.path, "--yes")[0] == 0
    assert not list(run.attempts.glob("*.data"))
    assert not left.exists()
    assert all(path.exists() for path in files)
    assert command("verify", run.path)[0] == 0
    with results.open(run.path) as found:
        assert found["label"].tolist() == list(range(100))
    assert command("errors", run.result)[0] == 0


def test_rows_that_are_added_are_in_files_of_another_result(config: Path) -> None:
    run = run_of(config)
    before = [file.path for file in read_index(run.result)]
    (config.parent / "data.csv").write_text("x\n" + "".join(f"{row}\n" for row in range(120)))
    assert command("extend", run.path)[0] == 0
    assert go_on(config)[0] == 0
    assert not any(path.exists() for path in before)
    with results.open(run.path) as found:
        assert found["label"].tolist() == list(range(120))


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"max_file_size": "10K"}, "output.max_file_size: must be 1M or more, not '10K'"),
        ({"max_file_size": "much"}, "output.max_file_size: must be a size such as"),
        ({"compression": "zip"}, "output.compression"),
    ],
)
def test_what_is_no_form_is_refused(tmp_path: Path, output: dict[str, str], said: str) -> None:
    code, text = command("plan", write_config(tmp_path, output=output))
    assert code == 2
    assert said in text


def test_the_result_of_a_complete_run_goes_where_its_config_wants_it_now(tmp_path: Path) -> None:
    with instant_executor():
        config, moved = write_config(tmp_path, job="Everything"), tmp_path / "moved.h5"
        assert go_on(config)[0] == 0
        run, before = run_of(config), datasets(run_of(config).result)
        there = ("--set", f"output.path={moved}")
        assert "launcher run, with the same config, writes it there" in command("submit", config, *there)[1]
        code, said = go_on(config, *there)
        assert (code, f"result: {moved}" in said) == (0, True), said
        assert f"result: {moved}, intact" in command("verify", run.path)[1]
        np.testing.assert_equal(datasets(moved), before)
        assert command("clean", run.path, "--yes")[0] == 0
        code, said = go_on(config)
        assert (code, "its result is all that there is of it, and stays where it is" in said) == (2, True)
        assert go_on(config, *there)[0] == 0


def test_what_a_job_prints_when_its_result_is_written_again_is_not_in_the_document(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "chatty_fold.py").write_text(
        "import os\nfrom tests.example_jobs.toy_jobs import Everything\nclass Chatty(Everything):\n"
        "    def reduce(self, state, block):\n        print('said')\n        os.write(1, b'written')\n        return 0\n"
        "    def finish(self, state):\n        return {}\n"
    )
    with instant_executor():
        config = write_config(tmp_path, job="chatty_fold:Chatty", executor="instant")
        assert go_on(config)[0] == 0
        run_of(config).result.unlink()
        capfd.readouterr()
        assert main(["run", str(config), "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["state"] == "complete"
    assert "said" in err
    assert "written" in err


def test_a_result_that_is_all_that_there_is_of_a_run_is_no_other_runs_to_replace(tmp_path: Path) -> None:
    shared = tmp_path / "shared.h5"

    def config(name: str) -> Path:
        return write_config(tmp_path / name, job="Everything", name=name, output={"path": str(shared)})

    with instant_executor():
        one, late, other = map(config, ("one", "late", "other"))
        assert command("plan", late)[0] == 0
        assert go_on(one)[0] == 0
        before = shared.read_bytes()
        assert command("clean", run_of(one).path, "--yes")[0] == 0
        code, said = go_on(other)
        assert (code, f"holds the result of run {run_of(one).path}: give each run" in said) == (2, True), said
        code, said = command("submit", run_of(late).path, "--set", "executor=instant")
        assert f"holds the result of run {run_of(one).path}: give each run" in command("gather", run_of(late).path)[1]
        assert shared.read_bytes() == before
        shutil.rmtree(run_of(one).path)
        code, said = go_on(other)
        assert (code, "holds the result of run one, which is gone: give each run" in said) == (2, True), said
        assert go_on(one)[0] == 0  # planned again it is the same run


def test_a_submission_notes_the_form(tmp_path: Path) -> None:
    with instant_executor():
        config = write_config(tmp_path, job="Everything", output={"max_file_size": "10GB", "compression": "gzip"})
        assert go_on(config)[0] == 0
        run = run_of(config)
    assert Submission.read(run.submission(1)).resources.form == ResultForm(10 << 30, "gzip")
    with h5py.File(run.result) as file:
        assert file["vector"].compression == "gzip"
        assert file["text/values"].compression == "gzip"


# --- compression


@pytest.fixture
def compressed(tmp_path: Path) -> RunDir:
    run = build_run(tmp_path / "run", (0, 200, 400), failed=[7], batch_size=50)
    gather(run, form=ResultForm(compression="gzip"))
    return run


def test_a_compressed_result_is_smaller_and_holds_the_same(compressed: RunDir) -> None:
    plain = gather(compressed, output=compressed.path / "plain.h5")
    one, other = datasets(plain.path), datasets(compressed.result)
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], name)
    assert compressed.result.stat().st_size < 0.8 * plain.bytes
    assert verify(compressed).ok


def test_a_compressed_result_is_a_dataset_too(compressed: RunDir) -> None:
    samples = results.dataset(compressed.path, ["vector", "text"])
    np.testing.assert_array_equal(samples[100]["vector"], everything(np.arange(101, 102))["vector"][0])


@pytest.mark.parametrize("name", ["vector", "text/values", "tokens/offsets"])
def test_damage_of_compressed_bytes_is_found(compressed: RunDir, name: str) -> None:
    with h5py.File(compressed.result) as file:
        chunk = file[name].id.get_chunk_info(0)
    content = bytearray(compressed.result.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 0xFF
    compressed.result.write_bytes(content)
    report = verify(compressed)
    assert report.result_problems
    assert all(name.partition("/")[0] in problem for problem in report.result_problems)
