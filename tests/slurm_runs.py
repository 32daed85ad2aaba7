"""Runs on the test cluster: what the launcher says of one, what Slurm says of it, and what it has to compute."""

import re
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from jobs.storage.journal import Attempt, History, replay
from jobs.storage.plans import Submission
from jobs.storage.rundir import RunDir
from launcher.slurm_scripts import job_name
from launcher.status import StatusReader
from tests.launcher_runs import document, launcher, run_of, status, wait_until, write_config
from tests.slurm_cluster import SlurmCluster

ROWS, SHARDS, BATCH = 48, 3, 4
ROWS_OF_SHARD = ROWS // SHARDS


class SlurmRun:
    """A run of 48 rows in 3 shards of 4 batches, one array element each."""

    def __init__(self, slurm: SlurmCluster, folder: Path, job: str, params: Any = None, **sections: Any) -> None:
        self.slurm = slurm
        self.folder = folder
        node = {"batch_size": BATCH, **sections.pop("node", {})}
        options = {"mem": "600M", **sections.pop("options", {})}
        rows, shards = sections.pop("rows", ROWS), sections.pop("shards", SHARDS)
        self.config = write_config(
            folder, rows, shards=shards, job=job, params=params, node=node, executor="slurm", slurm=options, **sections
        )

    @property
    def run(self) -> RunDir:
        return run_of(self.config)

    # --- the launcher

    def launcher(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return launcher(self.folder, *arguments)

    def submit(self) -> str:
        """Submits the run; returns the array's Slurm job id."""
        done = self.launcher("submit", self.config.name, "--json")
        assert done.returncode == 0, done.stderr
        return str(document(done)["job_ids"][0])

    def rerun(self, *arguments: object) -> Mapping[str, Any]:
        done = self.launcher("rerun", self.run.path, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return document(done)

    def status(self) -> Mapping[str, Any]:
        return status(self.folder, self.run)

    def end(self, seconds: float = 120.0) -> Mapping[str, Any]:
        """Waits until nothing of the run goes on by itself; returns its status."""
        reader = StatusReader(self.run)
        wait_until(lambda: reader.read().state != "running", seconds)
        return self.status()

    def history(self, shard: int) -> History:
        return replay(self.run.journal(shard))

    def attempts(self, shard: int) -> list[Attempt]:
        return self.history(shard).attempts

    def await_commits(self, shard: int, count: int = 1) -> None:
        """Waits until the shard has committed some batches."""
        wait_until(lambda: len(self.history(shard).commits) >= count)

    def submission(self, number: int) -> Submission:
        return Submission.read(self.run.submission(number))

    def array(self, number: int) -> str:
        """The Slurm job id of a submission's array."""
        return self.submission(number).job_ids[0]

    # --- Slurm

    def accounted(self, number: int, *fields: str) -> dict[int, list[list[str]]]:
        """Rows of sacct of an ended submission's elements, by array index: a row for each start."""
        array = self.array(number)
        names = [f"{array}_{index}" for index in range(len(self.submission(number).groups))]
        command = ["sacct", "-X", "-n", "-P", "--duplicates", f"--jobs={array}"]
        wait_until(lambda: sacct_knows(self.slurm.run(*command, "--format=JobID,State"), names))
        found: dict[int, list[list[str]]] = {}
        for line in self.slurm.run(*command, f"--format=JobID,{','.join(fields)}").splitlines():
            element, *values = line.split("|")
            found.setdefault(names.index(element), []).append(values)
        return found

    def asked(self, number: int, name: str) -> str | None:
        """An option of a submission's script; None where it is not there."""
        lines = self.run.script(number).read_text().splitlines()
        found = [line.partition("=")[2] for line in lines if line.startswith(f"#SBATCH --{name}=")]
        return found[0] if found else None

    def node_of(self, element: str) -> str:
        return self.slurm.run("squeue", "-h", "-o", "%N", "-j", element).strip()

    def await_state(self, element: str, state: str, seconds: float = 60.0) -> None:
        wait_until(lambda: self.slurm.job_states(element).get(element) == state, seconds)

    def resume(self, element: str) -> None:
        """Lets an element that was requeued start without its wait."""
        wait_until(lambda: self.slurm.start_now(element))

    def restarts_of(self, job_id: str) -> int:
        """How often Slurm has put a job back into the queue."""
        found = re.search(r"Restarts=(\d+)", self.slurm.run("scontrol", "show", "job", job_id))
        return int(found[1]) if found else 0

    def queued(self) -> list[str]:
        """Names of this run's Slurm jobs that wait or run."""
        prefix = job_name(self.run, 0).removesuffix("0")
        return [name for name in self.slurm.run("squeue", "-h", "-o", "%j").split() if name.startswith(prefix)]


def sacct_knows(text: str, names: list[str]) -> bool:
    """Whether the last row of each of these elements says how it ended; the controller tells that with some delay."""
    states = dict(line.split("|") for line in text.splitlines())
    return states.keys() == set(names) and not {"RUNNING", "PENDING", "REQUEUED"} & set(states.values())


def result_data(run: RunDir) -> dict[str, bytes]:
    """The bytes of all datasets of the result; without the messages about failed samples, which name their cause."""
    found: dict[str, bytes] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("errors"):
            found[name] = np.ascontiguousarray(item[()]).tobytes()

    with h5py.File(run.result) as file:
        assert file.attrs["complete"]
        file.visititems(visit)
    return found


@cache
def undisturbed_data(failed: tuple[int, ...] = ()) -> dict[str, bytes]:
    """What the same run gives on the local executor when nothing happens but that these samples fail."""
    params = {"bad": {str(row): "raise" for row in failed}}
    node = {"batch_size": BATCH, "max_failed_samples": len(failed)}
    with tempfile.TemporaryDirectory() as folder:
        config = write_config(Path(folder), ROWS, shards=SHARDS, params=params, node=node)
        done = launcher(config.parent, "run", config.name)
        assert done.returncode == 0, done.stderr
        return result_data(run_of(config))


def use_cluster(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this process's environment that of a login node of the cluster."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, slurm.env[name])
