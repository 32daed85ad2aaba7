"""Runs on the test cluster: what the launcher says of one, what Slurm says of it, and what it has to compute."""

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import psutil
import pytest

from jobs.storage.attempts import Attempt, Attempts
from jobs.storage.plans import Plan
from jobs.storage.records import AttemptStart
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans, union
from jobs.storage.submission import Submission
from launcher.slurm.limits import forget
from launcher.slurm.scripts import job_name
from launcher.status.reader import StatusReader
from tests.example_jobs.greedy_jobs import FREE, ROWS_OF_SHARD
from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import document, launcher, run_of, status, wait_until, write_config
from tests.support.patience import PATIENCE

SHARDS, BATCH = 3, FREE
ROWS = SHARDS * ROWS_OF_SHARD


class SlurmRun:
    """A run of 48 rows in 3 shards of 4 batches, one array element each.

    A job that gets ``gated`` stops after the first batch of each shard until ``open_gate``.
    """

    def __init__(self, slurm: SlurmCluster, folder: Path, job: str, params: Any = None, **sections: Any) -> None:
        self.slurm = slurm
        self.folder = folder
        self.gate = folder / "gate"
        node = {"batch_size": BATCH, **sections.pop("node", {})}
        options = {"mem": "600M", **sections.pop("options", {})}
        rows, shards = sections.pop("rows", ROWS), sections.pop("shards", SHARDS)
        self.config = write_config(
            folder, rows, shards=shards, job=job, params=params, node=node, executor="slurm", slurm=options, **sections
        )

    @classmethod
    def gated(cls, slurm: SlurmCluster, folder: Path, job: str = "Slow", params: Any = None, **sections: Any) -> Self:
        """A run of a Job of tests.example_jobs.greedy_jobs that waits for the gate; after it a batch takes half a second."""
        gated = {"gate": str(folder / "gate"), "delay": 0.1}
        return cls(slurm, folder, f"tests.example_jobs.greedy_jobs:{job}", {**gated, **(params or {})}, **sections)

    def open_gate(self) -> None:
        self.gate.touch()

    def open_gate_after(self, array: str, indices: Iterable[int]) -> None:
        """Opens it once Slurm has told these elements to leave: they finish a batch, but no second one."""
        names = [f"{array}_{index}" for index in indices]
        self.wait(lambda: all(self.slurm.job_states(name).get(name) != "RUNNING" for name in names))
        self.open_gate()

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

    def end(self, seconds: float = PATIENCE) -> Mapping[str, Any]:
        """Waits until nothing of the run goes on by itself; returns its status."""
        reader = StatusReader(self.run)
        self.wait(lambda: reader.read().state != "running", seconds)
        return self.status()

    def wait(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Waits for a condition; fails with what Slurm has of the queue where it does not come to hold."""
        try:
            wait_until(condition, seconds)
        except AssertionError as error:
            queue = self.slurm.run("squeue", "-r", "-o", "%i %j %T %r %S %N")
            raise AssertionError(f"{error}\n{queue}{self.slurm.run('sinfo', '-N', '-o', '%N %T %E')}") from None

    # --- the attempts

    def attempts(self, index: int, number: int = 1) -> list[Attempt]:
        """Those of an array element, in the order of its starts."""
        own = [(start_of(attempt), attempt) for attempt in Attempts(self.run, number).read() if attempt.start]
        own = [(start, attempt) for start, attempt in own if start.index == index]
        return [attempt for _, attempt in sorted(own, key=lambda pair: (pair[0].restart, pair[0].time))]

    def ends(self, index: int, number: int = 1) -> list[tuple[str | None, str | None]]:
        """How they ended, and with which kind of failure."""
        return [(attempt.beat.end, attempt.beat.kind) for attempt in self.attempts(index, number)]

    def attempt_with(self, row: int, number: int | None = None) -> Attempt:
        """The first one that has made a row durable."""
        return next(attempt for attempt in Attempts(self.run, number).read() if row in attempt.beat.done)

    def log_with(self, row: int) -> str:
        """The text of the array task that has done a row."""
        start = start_of(self.attempt_with(row))
        return self.run.log(start.submission, start.worker).read_text()

    def supervisor(self, index: int, number: int = 1) -> psutil.Process:
        """The process of an element's last start."""
        return psutil.Process(start_of(self.attempts(index, number)[-1]).process["pid"])

    def closed(self, shard: int | None = None) -> Spans:
        """The rows, of a shard or of all, that any attempt has made durable."""
        rows = union(attempt.beat.done for attempt in Attempts(self.run).read())
        table = Plan.read(self.run.plan).table
        return rows if shard is None else rows & table.rows_of([shard])

    def closed_twice(self, number: int | None = None) -> int:
        """How many times rows were done again, by attempts of one submission or of all."""
        done = [attempt.beat.done for attempt in Attempts(self.run, number).read()]
        return sum(rows.count for rows in done) - union(done).count

    def shards_of(self, number: int) -> list[int]:
        """The shards that a submission has rows of."""
        table = Plan.read(self.run.plan).table
        return list(table.shards_in(self.submission(number).work(table)).numbers)

    def await_commits(self, shard: int, count: int = 1) -> None:
        """Waits until some batches of the shard are durable."""
        self.wait(lambda: self.closed(shard).count >= count * BATCH)

    def submission(self, number: int) -> Submission:
        return Submission.read(self.run.submission(number))

    def array(self, number: int) -> str:
        """The Slurm job id of a submission's array."""
        return self.submission(number).job_ids[0]

    # --- Slurm

    def accounted(self, number: int, *fields: str) -> dict[int, list[list[str]]]:
        """Rows of sacct of an ended submission's elements, by array index: a row for each start."""
        array = self.array(number)
        names = [f"{array}_{index}" for index in range(self.submission(number).tasks)]
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

    def await_state(self, element: str, state: str) -> None:
        self.wait(lambda: self.slurm.job_states(element).get(element) == state)

    def resume(self, element: str) -> None:
        """Lets an element that was requeued start without its wait."""
        self.wait(lambda: self.slurm.start_now(element))

    def restarts_of(self, job_id: str) -> int:
        """How often Slurm has put a job back into the queue."""
        found = re.search(r"Restarts=(\d+)", self.slurm.run("scontrol", "show", "job", job_id))
        return int(found[1]) if found else 0

    def queued(self) -> list[str]:
        """Names of this run's Slurm jobs that wait or run."""
        prefix = job_name(self.run, 0).removesuffix("0")
        return [name for name in self.slurm.run("squeue", "-h", "-o", "%j").split() if name.startswith(prefix)]


def start_of(attempt: Attempt) -> AttemptStart:
    """Its first record, which has to be there."""
    assert attempt.start
    return attempt.start


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
    forget()  # what another one allows
