"""Param files: what of a folder of weights decides whether it is still the same."""

from pathlib import Path

from jobs.job import Job
from jobs.storage.records import JobSpec
from launcher.plan.param_files import describe_files


class Weighty(Job):
    param_files = ("model",)


def test_of_a_folder_of_much_the_configuration_counts_and_the_weights_by_their_sizes(tmp_path: Path) -> None:
    spec = JobSpec("job:Weighty", {"model": str(tmp_path)})
    config, weights = tmp_path / "config.json", tmp_path / "weights"
    config.write_text("1")
    with weights.open("wb") as file:
        file.truncate((1 << 30) + 1)  # a hole: it takes no room

    def hash_now() -> str:
        return str(describe_files(Weighty, spec)["model"]["hash"])

    known = hash_now()
    config.write_text("2")
    assert hash_now() != known
    config.write_text("1")
    with weights.open("r+b") as changed:
        changed.write(b"other")
    assert hash_now() == known
    with weights.open("r+b") as changed:
        changed.truncate((1 << 30) + 2)
    assert hash_now() != known
