"""What a Job raises and returns is the user's: what is told of it hangs nothing, and stays in its process."""

from pathlib import Path

import h5py
import pytest

from jobs.errors import InputError
from jobs.gather.gather import gather
from jobs.job import Job, make_job
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir
from tests.support.task_runs import failures, last_end, make_run, results, run_task

JOBS = "tests.example_jobs.odd_words_jobs"


def done(tmp_path: Path, job: str, error: str, **settings: int) -> RunDir:
    params = {"error": error, "mark": str(tmp_path / "mark")}
    run = make_run(
        tmp_path / "run",
        f"{JOBS}:{job}",
        8,
        batch_size=2 if job == "Batches" else 1,
        params=params,
        max_failed_samples=1,
        **settings,
    )
    ended = run_task(run)
    assert ended.returncode == 0, ended.stderr
    assert last_end(run).end == "done"
    return run


@pytest.mark.parametrize("job", ["Batches", "Singles"])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("text", "Odd: odd"),
        pytest.param("name", "Nameless: a module", marks=pytest.mark.thorough),
        ("group", "why it failed cannot be told: RuntimeError: no members"),
    ],
)
def test_an_error_that_may_not_be_looked_at_fails_its_sample_alone(
    tmp_path: Path, job: str, error: str, message: str
) -> None:
    run = done(tmp_path, job, error)
    assert {row: one.message for row, one in failures(run).items()} == {5: message}
    assert last_end(run).counts == {"y": 0 + 1 + 2 + 3 + 4 + 6 + 7}


@pytest.mark.parametrize("job", ["Batches", "Singles"])
@pytest.mark.parametrize("error", ["broken", pytest.param("wordless", marks=pytest.mark.thorough)])
def test_a_process_whose_end_has_no_plain_words_is_replaced(tmp_path: Path, job: str, error: str) -> None:
    run = done(tmp_path, job, error)
    assert not failures(run)
    assert results(run)["y"].tolist() == list(range(8))


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_of_a_batch_that_do_not_go_together_fail_alone_before_a_form_is_known(
    tmp_path: Path, workers: int
) -> None:
    run = make_run(tmp_path, f"{JOBS}:Boxes", 6, batch_size=2, workers=workers, max_failed_samples=1)
    assert run_task(run).returncode == 0
    assert {row: one.kind for row, one in failures(run).items()} == {3: "PROCESS"}
    gather(run)
    with h5py.File(run.result) as file:
        assert (file["boxes/values"][:].tolist(), file["boxes/offsets"][:].tolist()) == ([1, 2], [0, 0, 0, 2, 2, 2, 2])


@pytest.mark.parametrize("names", ["tokens", (5,), None])
@pytest.mark.parametrize(("attribute", "valid"), [("counts", "outputs"), ("param_files", "parameters")])
def test_what_a_job_names_is_several_names(
    monkeypatch: pytest.MonkeyPatch, attribute: str, valid: str, names: object
) -> None:
    """``("model")`` is a text, each letter of which would be a parameter without a file."""
    monkeypatch.setattr(Job, attribute, names)
    with pytest.raises(InputError, match=rf"Boxes.{attribute} is .*; valid: names of {valid}, such as \('"):
        make_job(JobSpec(f"{JOBS}:Boxes", {}, "."))


@pytest.mark.parametrize(("job", "batch"), [("ShortOfMemory", 2), ("ShortOfMemorySingles", 1)])
def test_without_memory_to_store_results_the_attempt_needs_more(tmp_path: Path, job: str, batch: int) -> None:
    params = {"error": "text", "mark": str(tmp_path)}
    run = make_run(tmp_path / "run", f"{JOBS}:{job}", 4, batch_size=batch, params=params)
    run_task(run)
    assert (last_end(run).kind, last_end(run).message) == ("OUT_OF_MEMORY", "storing results: MemoryError: ")
