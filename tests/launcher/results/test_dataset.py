"""A result in the hands of torch's DataLoader."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.gather.gather import gather
from jobs.storage.rundir import RunDir
from launcher import results
from launcher.results import ResultDataset
from tests.support.builders import build_run, everything

ROWS = 64
BAD = [3, 16, 17]
GOOD = [row for row in range(ROWS) if row not in BAD]
EXPECTED = everything(np.arange(ROWS))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    ids = [f"böok {n}" for n in range(ROWS)]
    run = build_run(tmp_path_factory.mktemp("runs") / "books", (0, 20, 50, 64), failed=BAD, ids=ids)
    gather(run)
    return run


@pytest.fixture(params=["file", "in place"])
def samples(run: RunDir, request: pytest.FixtureRequest) -> ResultDataset:
    return results.dataset(run.path, in_place=request.param == "in place")


def test_samples_are_those_that_are_ok(samples: ResultDataset) -> None:
    assert len(samples) == len(GOOD)
    assert samples.rows.tolist() == GOOD
    for number, row in enumerate(GOOD):
        sample = samples[number]
        assert list(sample) == sorted(EXPECTED)
        for name, value in sample.items():
            np.testing.assert_array_equal(value, EXPECTED[name][row])
    with pytest.raises(IndexError):
        samples[len(GOOD)]


def test_all_rows_and_some_columns_are_had_on_request(run: RunDir) -> None:
    samples = results.dataset(run.path, ["id", "status", "label"], only_ok=False)
    assert samples[3] == {"id": "böok 3", "status": 2, "label": 0}
    assert len(samples) == ROWS
    with pytest.raises(KeyError, match="no output 'nothing'"):
        results.dataset(run.path, ["nothing"])


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_of_a_data_loader_read_it(run: RunDir, start: str, in_place: bool) -> None:
    from torch.utils.data import DataLoader

    samples = results.dataset(run.path, ["vector", "text", "label"], in_place=in_place)
    loader: Any = DataLoader(samples, batch_size=10, num_workers=1, multiprocessing_context=start)  # type: ignore[arg-type]
    batches = list(loader)
    vectors = np.concatenate([batch["vector"].numpy() for batch in batches])
    np.testing.assert_array_equal(vectors, EXPECTED["vector"][GOOD])
    assert [text for batch in batches for text in batch["text"]] == [EXPECTED["text"][row] for row in GOOD]
    assert np.concatenate([batch["label"].numpy() for batch in batches]).tolist() == GOOD


def test_fixed_outputs_are_maps_of_the_file(run: RunDir, tmp_path: Path) -> None:
    with results.open(run.path) as found:
        assert isinstance(found.table.mapped("vector"), np.memmap)


def test_maps_are_of_the_file_that_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = build_run(tmp_path / "run", (0, 16))
    gather(run)
    monkeypatch.chdir(tmp_path)
    with results.open("run/result.h5") as found:
        (tmp_path / "other").write_bytes(bytes(run.result.stat().st_size))
        (tmp_path / "other").replace(run.result)
        monkeypatch.chdir("/")
        np.testing.assert_array_equal(
            ResultDataset(found, ["vector"], only_ok=True)[9]["vector"], EXPECTED["vector"][9]
        )
