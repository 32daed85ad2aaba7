"""output.format: a result in a store in the format of another program: a folder there that is whole, or says that it is not."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.errors import RunError
from jobs.storage.rundir import RunDir
from launcher import results
from launcher.config.config import load_config
from launcher.runs.delivered import Delivered
from tests.support.instant_executor import command, go_on
from tests.support.launcher_runs import run_of, status, write_config
from tests.support.object_store import ObjectStore

pytest.importorskip("obstore")

URL = "s3://bucket/a/vectors"


@pytest.fixture
def config(tmp_path: Path, store: ObjectStore) -> Path:
    return write_config(tmp_path, job="Everything", output={"path": URL, "format": "parquet", "max_file_size": "1M"})


def place(store: ObjectStore) -> Path:
    return store.folder / "bucket" / "a" / "vectors"


def labels(store: ObjectStore) -> list[int]:
    found: list[int] = pq.read_table(place(store))["label"].to_pylist()
    return found


def extended_once_complete(config: Path) -> RunDir:
    """The run, with 20 more samples than its result has."""
    run = run_of(config)
    assert go_on(config)[0] == 0
    (config.parent / "data.csv").write_text("x\n" + "".join(f"{row}\n" for row in range(120)))
    assert command("extend", run.path)[0] == 0
    return run


def test_a_result_in_another_format_is_a_folder_in_the_store_whose_last_file_says_that_it_is_whole(
    config: Path, store: ObjectStore
) -> None:
    run = run_of(config)
    code, said = go_on(config)
    assert code == 0, said
    assert f"result: {URL}" in said
    assert store.written[-1] == "_result.json"
    assert sorted(store.written[1:]) == sorted(path.name for path in place(store).iterdir())
    assert labels(store) == list(range(100))
    assert not run.outgoing.exists()
    assert status(config.parent, run)["results"] == [URL]
    with results.open(run.path) as found:
        assert found["label"].tolist() == list(range(100))
    assert f"result: {URL}, intact" in command("verify", run.path)[1]
    code, said = command("clean", run.path, "--yes")
    assert code == 2
    assert "its result is in the format of another program" in said
    part = place(store) / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    code, said = command("verify", run.path)
    assert code == 1
    assert f"{URL}/part-00000.parquet: has other bytes than were written there" in said
    assert command("gather", run.path)[0] == 0
    assert command("verify", run.path)[0] == 0


def test_a_complete_run_puts_its_result_there_in_the_format_that_its_config_has_now(
    config: Path, store: ObjectStore
) -> None:
    assert go_on(config)[0] == 0
    config.write_text(config.read_text().replace('"parquet"', '"numpy"'))
    code, said = go_on(config)
    assert code == 0, said
    there = {path.suffix for path in place(store).rglob("*") if path.is_file()}
    assert ".npy" in there
    assert ".parquet" not in there
    assert f"result: {URL}, intact" in command("verify", run_of(config).path)[1]


def test_a_larger_result_replaces_it_whole_and_nothing_says_meanwhile_that_it_is_there(
    config: Path, store: ObjectStore
) -> None:
    run = extended_once_complete(config)
    (place(store) / "part-00007.parquet").touch()
    code, said = go_on(config)
    assert code == 2
    assert f"{URL}: has 1 objects that are not of this run, such as {URL}/part-00007.parquet" in said
    (place(store) / "part-00007.parquet").unlink()
    with pytest.MonkeyPatch.context() as patch:

        def end(path: Path, url: str, tick: object) -> None:
            assert not (place(store) / "_result.json").exists()
            raise RunError("ended here")

        patch.setattr("launcher.delivery.outgoing.send", end)
        assert go_on(config)[0] == 1
        assert go_on(config)[0] == 1
    known = Delivered.read(run, None)
    assert known
    assert len({file.url for file in known.files}) == len(known.files)
    assert status(config.parent, run)["state"] == "incomplete"
    assert "result: not written yet" in command("verify", run.path)[1]
    assert command("events", run.path)[1].count('"gathered"') == 0
    assert not (place(store) / "_result.json").exists()
    code, said = command("gather", run.path)
    assert code == 0, said
    assert labels(store) == list(range(120))
    assert command("verify", run.path)[0] == 0


def test_folders_below_it_and_several_manifests_are_as_in_an_export(tmp_path: Path, store: ObjectStore) -> None:
    zarr = pytest.importorskip("zarr")
    config = write_config(tmp_path, job="Everything", output={"path": "s3://bucket/a/{manifest}", "format": "zarr"})
    written = json.loads(config.read_text())
    written["data"] = {"manifest": {"vectors": "data.csv", "others": "data.csv"}, "shards": 4}
    config.write_text(json.dumps(written))
    code, said = go_on(config)
    assert code == 0, said
    assert zarr.open_group(place(store), mode="r")["label"][:].tolist() == list(range(100))
    code, said = command("verify", run_of(config).path)
    assert code == 0, said
    assert f"result of vectors: {URL}, intact" in said
    (place(store) / "label" / "zarr.json").unlink()
    code, said = command("verify", run_of(config).path)
    assert code == 1
    assert f"{URL}/label/zarr.json: is gone" in said


def test_a_run_that_is_computed_afresh_replaces_what_the_one_before_has_put_there(
    config: Path, store: ObjectStore
) -> None:
    assert go_on(config)[0] == 0
    (config.parent / "data.csv").write_text("x\n" + "".join(f"{row}\n" for row in range(120)))
    assert command("plan", config, "--fresh")[0] == 0
    assert status(config.parent, run_of(config))["state"] == "planned"
    code, said = go_on(config)
    assert code == 0, said
    assert labels(store) == list(range(120))
    assert command("verify", run_of(config).path)[0] == 0


def test_the_frozen_config_says_where_the_result_goes_and_in_which_format(config: Path, store: ObjectStore) -> None:
    assert command("plan", config)[0] == 0
    assert load_config(run_of(config).config).result_form == load_config(config).result_form


def test_one_that_lacks_samples_does_not_replace_it_and_what_was_made_of_it_is_not_taken_for_the_result(
    config: Path, store: ObjectStore
) -> None:
    run = extended_once_complete(config)
    code, said = command("gather", run.path, "--allow-missing")
    assert code == 1
    assert f"{URL}: is complete, and stays" in said
    assert labels(store) == list(range(100))
    code, said = command("verify", run.path)
    assert code == 0, said
    assert f"result: {URL}, intact" in said


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"path": "table", "format": "parquet"}, "output.format: is for a result in a store: set output.path to a URL"),
        ({"path": URL, "format": "excel"}, "output.format: must be "),
        ({"path": URL, "format": "zarr", "compression": "gzip"}, "output.format: has a compression of its own"),
        ({"path": URL, "format": "numpy", "gather": False}, "output.format: is for a result that is written"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, store: ObjectStore, output: dict[str, str], said: str
) -> None:
    code, text = command("plan", write_config(tmp_path, job="Everything", output=output))
    assert code == 2
    assert said in text


def test_a_job_that_folds_its_results_needs_hdf5(tmp_path: Path, store: ObjectStore) -> None:
    config = write_config(
        tmp_path,
        job="tests.example_jobs.greedy_jobs:SlowlyFolded",
        params={"gate": "gate"},
        output={"path": URL, "format": "numpy"},
    )
    code, text = command("plan", config)
    assert code == 2
    assert "output.format: " in text
    assert "folds its results (reduce), which gather does: leave it out" in text
