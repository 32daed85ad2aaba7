"""What takes long without a word says so: with real processes, since what is late is mostly an import."""

from pathlib import Path

from tests.support.launcher_runs import launcher, write_config

_JOB = """
import time
from jobs import Job

time.sleep(2.5)

class Sleepy(Job):
    def load(self, sample):
        return sample["x"]

    def process(self, batch):
        return {"y": batch}
"""


def test_a_module_that_takes_long_to_import_is_named(tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text(_JOB)
    config = write_config(tmp_path, rows=4, shards=1, job="sleepy:Sleepy")

    done = launcher(tmp_path, "plan", config.name)

    assert done.returncode == 0
    assert "importing sleepy:Sleepy ...\n" in done.stderr
