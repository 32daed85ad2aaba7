"""Seals: a result says what it was made of where anybody can read it who knows no HDF5."""

from pathlib import Path

import h5py
import pytest

from jobs.gather.gather import gather
from jobs.storage.attempts import Attempts, owners
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.seals import read_seal, seal_of
from jobs.storage.spans import Spans
from tests.support.builders import AttemptWriter, build_plan, build_run, change_plan, everything, submit, write_shard


def seal(run: RunDir) -> str:
    plan = Plan.read(run.plan)
    return seal_of(plan.fingerprint, plan.results[0], owners(Attempts(run).read()))


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return build_run(
        tmp_path / "run", (0, 20, 50, 64), ids=[f"sample {row}" for row in range(64)], config={"x": "y" * 100_000}
    )


def test_a_complete_result_has_the_seal_of_what_is_stored(run: RunDir) -> None:
    report = gather(run)
    assert report.seals == (seal(run),)
    assert read_seal(run.result) == seal(run)
    with h5py.File(run.result) as file:  # and it is an attribute as any other
        assert file.attrs["seal"].decode().endswith(seal(run))


def test_a_result_that_lacks_something_has_none(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 16))
    write_shard(run, 0, batches=[8], done=False)
    assert gather(run, allow_missing=True).seals == ()
    assert read_seal(run.result) == ""
    run.result.write_bytes(b"something else")
    assert read_seal(run.result) is None


def test_rows_that_are_done_again_change_it(run: RunDir) -> None:
    before = seal(run)
    with AttemptWriter(run, worker=7, name="0001-00007-00000000") as late:  # the same submission's: the same values
        late.commit(0, 8)
        late.beat()
    assert seal(run) == before
    submit(run, 2, rows=Spans([(0, 8)]))
    with AttemptWriter(run, 2) as again:
        again.commit(0, 8, everything)
        again.beat()
    assert seal(run) != before


def test_another_plan_has_another(run: RunDir) -> None:
    before = seal(run)
    change_plan(run, fingerprint="e" * 16)
    assert seal(run) != before
