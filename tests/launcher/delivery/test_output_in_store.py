"""output.path in a store, from the config to the commands that take a result: it is there whole, or the run is not complete."""

import json
import os
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest

from jobs.errors import DamageError, InputError, RunError
from jobs.gather import volumes
from jobs.references import uploads
from jobs.references.stores import _store
from jobs.storage.rundir import RunDir
from launcher import plan, results
from launcher.runs.delivered import Delivered
from tests.example_jobs.toy_jobs import Everything
from tests.support.hierarchy_scripts import until
from tests.support.instant_executor import command, go_on, instant_executor
from tests.support.launcher_runs import (
    document,
    in_process,
    kill,
    launcher,
    newest,
    run_of,
    start,
    status,
    write_config,
)
from tests.support.object_store import ObjectStore
from tests.support.patience import PATIENCE

pytest.importorskip("obstore")

URL = "s3://bucket/a/vectors.h5"


@pytest.fixture
def config(tmp_path: Path, store: ObjectStore) -> Path:
    return write_config(tmp_path, job="Everything", output={"path": URL})


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_WAITS", ())


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "_HEAD", (1 << 20) - 3000)  # so that no more is left for rows
    monkeypatch.setattr(volumes, "_EACH", 0)


LARGE = """
import h5py
import numpy as np
from jobs import Job


class Large(Job):
    def load(self, sample):
        return int(sample["x"])

    def process(self, batch):
        return {"wide": np.repeat(batch[:, None], 1 << 16, axis=1)}
"""


def place(store: ObjectStore) -> Path:
    return store.folder / "bucket" / "a"


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def nothing_is_left(run: RunDir) -> bool:
    return not run.outgoing.exists() and not run.result.exists()


def test_a_result_goes_to_the_store_by_itself_and_all_commands_know_where_it_is(
    config: Path, store: ObjectStore
) -> None:
    run = run_of(config)
    code, said = go_on(config)
    assert code == 0, said
    assert f"result: {URL}" in said
    assert store.written == ["vectors.h5.try", "vectors.h5"]
    assert [path.name for path in place(store).iterdir()] == ["vectors.h5"]
    assert nothing_is_left(run)
    assert f"result: {URL}" in command("status", run.path)[1]
    assert status(config.parent, run)["results"] == [URL]
    assert "complete" in command("list", config.parent / "runs")[1]
    assert f"result: {URL}, intact" in command("verify", run.path)[1]
    assert document(in_process(config.parent, "verify", run.path, "--json"))["result"] == URL
    assert f'"path": "{URL}"' in command("events", run.path)[1]
    assert command("report", run.path)[0] == 0
    assert URL in run.report.read_text()
    with results.open(run.path) as found, results.open(URL) as same:
        assert found["label"].tolist() == same["label"].tolist() == list(range(100))
        assert str(found.path) == str(same.path) == URL
        folder = same.table.path.parent
        if not (child := os.fork()):
            same.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert folder.exists()
    assert not folder.exists()
    assert results.result_path(run) == URL
    code, said = command("run", config, "--set", "executor=instant")
    assert (code, store.written.count("vectors.h5")) == (0, 1), said


def test_h5py_reads_some_rows_of_a_result_in_a_store_without_a_copy(config: Path, store: ObjectStore) -> None:
    """As docs/results.md has it."""
    fsspec = pytest.importorskip("obstore.fsspec")
    assert go_on(config)[0] == 0
    with fsspec.FsspecStore("s3").open(URL) as there, h5py.File(there) as file:
        assert file["label"][10:12].tolist() == [10, 11]


def test_commands_that_take_a_run_say_what_a_url_is_for(tmp_path: Path) -> None:
    for name in ("status", "errors", "verify"):
        code, said = command(name, URL)
        assert code == 2
        assert f"{URL}: is a URL; RUN is a run directory" in said


def test_no_credentials_are_written_down(config: Path, store: ObjectStore) -> None:
    store.is_read_only = True
    assert go_on(config)[0] == 2
    store.is_read_only = False
    assert go_on(config)[0] == 0
    secret = store.variables["AWS_SECRET_ACCESS_KEY"].encode()
    files = [path for path in config.parent.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not any(secret in path.read_bytes() for path in files)


def test_a_result_in_several_files_has_its_index_last(config: Path, store: ObjectStore, small_files: None) -> None:
    run = run_of(config)
    assert go_on(config, "--set", "output.max_file_size=1M")[0] == 0
    names = store.written[1:]
    assert len(names) > 3
    assert (names[-1], sorted(names)) == ("vectors.h5", sorted(path.name for path in place(store).iterdir()))
    with results.open(run.path) as found, results.open(URL) as same:
        assert found["label"].tolist() == same["label"].tolist() == list(range(100))
    assert command("verify", run.path)[0] == 0
    (place(store) / names[1]).unlink()
    code, said = command("verify", run.path)
    assert code == 1
    assert f"s3://bucket/a/{names[1]}: is gone" in said
    with pytest.raises(DamageError, match=f"s3://bucket/a/{names[1]}: is gone"):
        results.open(run.path)
    with pytest.raises(InputError, match=f"s3://bucket/a/{names[1]}: there is no such object"):
        results.open(URL)
    assert command("gather", run.path)[0] == 0
    assert command("verify", run.path)[0] == 0


def test_rows_that_are_added_make_another_result_in_the_place_of_the_one_before(
    config: Path, store: ObjectStore, small_files: None
) -> None:
    run = run_of(config)
    assert go_on(config, "--set", "output.max_file_size=1M")[0] == 0
    before = {path.name for path in place(store).iterdir()}
    (config.parent / "data.csv").write_text("x\n" + "".join(f"{row}\n" for row in range(120)))
    assert command("extend", run.path)[0] == 0
    assert status(config.parent, run)["state"] != "complete"
    assert go_on(config, "--set", "output.max_file_size=1M")[0] == 0
    assert before & {path.name for path in place(store).iterdir()} == {"vectors.h5"}
    with results.open(run.path) as found:
        assert found["label"].tolist() == list(range(120))


def test_a_run_that_was_moved_knows_where_its_result_is_and_goes_on(
    config: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert go_on(config)[0] == 0
    moved = RunDir(run_of(config).path.rename(config.parent / "moved"))
    monkeypatch.chdir(config.parent)
    assert f"result: {URL}, intact" in command("verify", "moved")[1]
    (place(store) / "vectors.h5").unlink()
    assert command("gather", "moved")[0] == 0
    assert status(config.parent, moved)["results"] == [URL]
    assert nothing_is_left(moved)


def test_the_runs_of_a_sweep_cannot_have_one_object(config: Path, store: ObjectStore) -> None:
    code, said = command("plan", config, "--sweep", "job.params.wait=0.0,0.1")
    assert code == 2
    assert "the runs of a sweep have a result each, and output.path is one place" in said


def test_a_run_from_python_has_its_result_in_a_store(tmp_path: Path, store: ObjectStore) -> None:
    samples = [{"x": 0}, {"x": 1}, {"x": 2}]
    run = plan(Everything(), samples, name="from-python", output={"path": URL}, executor="instant", runs=str(tmp_path))
    run.submit()
    assert run.status().results == (URL,)
    assert run.gather().url == URL
    with run.results() as found:
        assert found["label"].tolist() == [0, 1, 2]


def test_each_of_several_manifests_has_its_object(tmp_path: Path, store: ObjectStore) -> None:
    config = write_config(tmp_path, job="Everything", output={"path": "s3://bucket/{manifest}/vectors.h5"})
    written = json.loads(config.read_text())
    written["data"] = {"manifest": {"train": "data.csv", "test": "data.csv"}, "shards": 4}
    config.write_text(json.dumps(written))
    run = run_of(config)
    code, said = go_on(config)
    assert code == 0, said
    for name in ("train", "test"):
        assert f"result: s3://bucket/{name}/vectors.h5" in said
        with results.open(run.path, manifest=name) as found:
            assert len(found) == 100
    flip(store.folder / "bucket" / "test" / "vectors.h5", 20_000)
    code, said = command("verify", run.path)
    assert code == 1
    assert "result of train: s3://bucket/train/vectors.h5, intact" in said
    assert "result of test: s3://bucket/test/vectors.h5, " in said


# --- what goes wrong when it is planned


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("s3://none/a.h5", "output.path: s3://none/a.h5.try: NO_BUCKET: there is none of this name"),
        ("s3://bucket/somebodys.h5", "s3://bucket/somebodys.h5: is there and is no result, so it is not replaced"),
        ("s3://key:secret@bucket/b.h5", "a password, or a signature, would be written into the plan"),
    ],
)
def test_what_cannot_be_written_to_is_told_when_the_run_is_planned(
    tmp_path: Path, store: ObjectStore, path: str, said: str
) -> None:
    (store.folder / "bucket" / "somebodys.h5").write_text("own")
    config = write_config(tmp_path, job="Everything", output={"path": path})
    code, text = command("plan", config)
    assert code == 2
    assert said in text
    assert not run_of(config).plan.exists()


def test_who_may_not_write_is_told_when_the_run_is_planned(config: Path, store: ObjectStore) -> None:
    store.is_read_only = True
    code, said = command("plan", config)
    assert code == 2
    assert f"output.path: {URL}.try: PERMISSION: the credentials of this environment may not do that there" in said


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    config = write_config(tmp_path, job="Everything", output={"path": f"file://{tmp_path}/elsewhere/x.h5"})
    with instant_executor():
        assert go_on(config)[0] == 0
    with results.open(tmp_path / "elsewhere" / "x.h5") as found:
        assert len(found) == 100


# --- what goes wrong later


def test_a_run_that_may_not_write_any_more_says_so_and_goes_on_with_gather(config: Path, store: ObjectStore) -> None:
    run = run_of(config)
    assert command("plan", config, "--set", "executor=instant")[0] == 0
    store.is_read_only = True
    code, said = command("submit", run.path)
    code, said = command("status", run.path)
    assert code == 1
    assert f"{URL}: PERMISSION: " in said
    assert "next: launcher gather " in said
    assert status(config.parent, run)["state"] == "incomplete"
    with results.open(run.path) as found:  # where the attempts have stored it
        assert found["label"].tolist() == list(range(100))
    made = next(run.outgoing.rglob("vectors.h5")).stat()
    code, said = command("gather", run.path)
    assert code == 1
    assert f"{URL}: PERMISSION: " in said
    assert next(run.outgoing.rglob("vectors.h5")).stat() == made, "it is not made twice"
    store.is_read_only = False
    code, said = command("gather", run.path)
    assert (code, nothing_is_left(run)) == (0, True), said
    assert f"result: {URL} (" in said
    assert status(config.parent, run)["state"] == "complete"


def test_what_was_made_and_is_not_as_it_was_is_made_again(config: Path, store: ObjectStore, no_waits: None) -> None:
    run = run_of(config)
    assert command("plan", config, "--set", "executor=instant")[0] == 0
    store.is_read_only = True
    command("submit", run.path)
    made = next(run.outgoing.rglob("vectors.h5"))
    flip(made, made.stat().st_size // 2)
    store.is_read_only = False
    assert command("gather", run.path)[0] == 0
    assert command("verify", run.path)[0] == 0


def test_an_object_that_is_damaged_in_the_store_is_seen_by_verify_and_replaced_by_gather(
    config: Path, store: ObjectStore
) -> None:
    run, path = run_of(config), place(store) / "vectors.h5"
    assert go_on(config)[0] == 0
    with results.open(URL) as found:
        at = found.table.fixed("label").id.get_offset() + 2 * 10
    flip(path, at)
    code, said = command("verify", run.path)
    assert code == 1
    assert f"result: {URL}, 2 problems" in said
    assert f"{URL}: has other bytes than were written there" in said
    assert "label: rows " in said
    assert "next: launcher gather " in said
    with pytest.raises(DamageError, match="has other bytes than were written there"):
        results.open(run.path)
    assert command("clean", run.path, "--yes")[0] == 1
    store.tags.clear()  # else it would tell those of what it was sent
    assert command("gather", run.path)[0] == 0
    assert command("verify", run.path)[0] == 0
    path.unlink()
    assert f"{URL}: is gone" in command("verify", run.path)[1]


def test_what_is_in_the_store_and_is_no_result_is_called_by_its_url(store: ObjectStore) -> None:
    (store.folder / "bucket" / "table.csv").write_text("x\n1\n")
    with pytest.raises(InputError, match=r"^s3://bucket/table.csv: not a result \(no HDF5 file\)"):
        results.open("s3://bucket/table.csv")


def test_a_store_that_cannot_be_asked_is_not_taken_for_damage(config: Path, store: ObjectStore) -> None:
    run = run_of(config)
    assert go_on(config)[0] == 0
    os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    _store.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.references.stores._PATIENCE", 0)
        patch.setattr("jobs.references.stores.located.__defaults__", (0,))
        code, said = command("verify", run.path)
        assert code == 1
        assert "UNREACHABLE" in said
        assert "damaged" not in said
        assert status(config.parent, run)["state"] == "complete", "no store is asked"
        with pytest.raises(RunError, match="UNREACHABLE"):
            results.open(run.path)


def test_a_run_that_is_cleaned_has_its_result_in_the_store(config: Path, store: ObjectStore) -> None:
    run = run_of(config)
    assert go_on(config)[0] == 0
    assert command("clean", run.path, "--yes")[0] == 0
    assert not list(run.attempts.glob("*.data"))
    assert status(config.parent, run)["state"] == "complete"
    assert command("verify", run.path)[0] == 0
    with results.open(run.path) as found:
        np.testing.assert_array_equal(found["label"], np.arange(100))
    code, said = command("export", URL, config.parent / "table", "--format", "parquet")
    assert code == 0, said


def test_a_result_that_lacks_samples_does_not_replace_one_that_is_complete(config: Path, store: ObjectStore) -> None:
    run = run_of(config)
    assert go_on(config)[0] == 0
    before = (place(store) / "vectors.h5").read_bytes()
    (config.parent / "data.csv").write_text("x\n" + "".join(f"{row}\n" for row in range(120)))
    assert command("extend", run.path)[0] == 0
    code, said = command("gather", run.path, "--allow-missing")
    assert code == 1
    assert f"{URL}: is complete, and stays" in said
    assert (place(store) / "vectors.h5").read_bytes() == before


def test_killed_while_it_uploads_it_leaves_nothing_that_looks_whole_and_gather_goes_on(
    config: Path, store: ObjectStore
) -> None:
    run = run_of(config)
    assert command("plan", config, "--set", "executor=instant")[0] == 0
    store.is_read_only = True
    command("submit", run.path)
    store.is_read_only, store.writes_left = False, 0
    process = start(config.parent, "gather", run.path)
    assert store.is_stuck.wait(PATIENCE)
    code, said = command("gather", run.path)
    assert code == 1
    assert "another process is gathering this result now; wait for it" in said
    kill(process)
    assert store.written == ["vectors.h5.try"]
    assert status(config.parent, run)["state"] == "incomplete"
    store.writes_left = 1
    assert command("gather", run.path)[0] == 0
    assert store.written == ["vectors.h5.try", "vectors.h5"]
    assert command("verify", run.path)[0] == 0


@pytest.mark.parametrize("step", ["_remove_replaced", "Delivered.write", "shutil.rmtree"])
def test_ended_after_any_step_it_is_completed_by_the_next_one_without_another_upload(
    config: Path, store: ObjectStore, step: str
) -> None:
    run = run_of(config)
    assert command("plan", config, "--set", "executor=instant")[0] == 0
    with pytest.MonkeyPatch.context() as patch:

        def end(*_: object, **__: object) -> None:
            raise RunError("ended here")

        patch.setattr(f"launcher.delivery.outgoing.{step}", end)
        command("submit", run.path)
    is_written = step == "shutil.rmtree"
    assert status(config.parent, run)["state"] == ("complete" if is_written else "incomplete")
    assert next(run.outgoing.rglob("vectors.h5"))
    if is_written:
        assert command("clean", run.path, "--yes")[0] == 0
        assert not list(run.outgoing.rglob("*.h5"))
    else:
        assert command("gather", run.path)[0] == 0
        assert nothing_is_left(run)
    assert store.written == ["vectors.h5.try", "vectors.h5"]
    assert command("verify", run.path)[0] == 0


def test_ctrl_c_ends_an_upload_to_a_store_that_is_silent(config: Path, store: ObjectStore) -> None:
    run = run_of(config)
    assert command("plan", config, "--set", "executor=instant")[0] == 0
    store.is_read_only = True
    command("submit", run.path)
    store.is_read_only, store.writes_left = False, 0
    process = start(config.parent, "gather", run.path)
    assert store.is_stuck.wait(PATIENCE)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert next(run.outgoing.rglob("vectors.h5"))


@pytest.mark.thorough
def test_a_local_executor_that_is_killed_while_it_uploads_a_large_result_in_parts_leaves_it_to_run(
    tmp_path: Path, store: ObjectStore
) -> None:
    (tmp_path / "large.py").write_text(LARGE)
    config = write_config(tmp_path, 40, job="large:Large", output={"path": URL})
    run = run_of(config)
    store.writes_left = 2
    process = start(tmp_path, "run", config)
    assert store.is_stuck.wait(PATIENCE)
    executor = newest(run).process
    assert executor
    os.kill(executor["pid"], signal.SIGKILL)
    kill(process)
    assert store.written == ["vectors.h5.try"]
    assert status(tmp_path, run)["state"] == "incomplete"
    store.writes_left = 1 << 30
    done = launcher(tmp_path, "run", config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(store.parts) == 3
    assert store.written[2:] == ["vectors.h5"]
    assert nothing_is_left(run)
    record = Delivered.read(run, None)
    assert record
    assert record.size == (place(store) / "vectors.h5").stat().st_size
    assert launcher(tmp_path, "verify", run.path).returncode == 0


@pytest.mark.thorough
def test_a_run_that_is_cancelled_while_it_uploads_leaves_nothing_in_the_store(
    tmp_path: Path, store: ObjectStore
) -> None:
    (tmp_path / "large.py").write_text(LARGE)
    config = write_config(tmp_path, 200, job="large:Large", output={"path": URL})
    run = run_of(config)
    store.delay = 0.5
    process = start(tmp_path, "run", config)
    until(lambda: len(store.uploads) == 1)
    assert launcher(tmp_path, "cancel", run.path).returncode == 0
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert store.written == ["vectors.h5.try"]
    assert store.uploads == {}
    assert status(tmp_path, run)["state"] == "cancelled"


def test_another_runs_result_is_not_replaced(config: Path, store: ObjectStore, tmp_path: Path) -> None:
    assert go_on(config)[0] == 0
    before = {path: path.read_bytes() for path in store.folder.rglob("*.h5")}
    other = write_config(tmp_path / "other", job="Everything", name="other", output={"path": URL})
    code, said = go_on(other)
    assert (code, f"{URL}: is there and is not of this run" in said) == (2, True), said
    assert {path: path.read_bytes() for path in store.folder.rglob("*.h5")} == before
    assert command("gather", run_of(config).path)[0] == 0


def test_what_a_run_has_put_elsewhere_before_stays_its_own(config: Path, store: ObjectStore) -> None:
    for url in (URL, f"{URL}.h5", URL):
        code, said = go_on(config, "--set", f"output.path={url}")
        assert (code, f"result: {url}" in said) == (0, True), said
    assert len(list(store.folder.rglob("*.h5"))) == 2
