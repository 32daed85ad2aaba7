"""Submission: submissions/NNNN.json, written by the login node, read by array tasks and status.

It holds what may differ from one sbatch call to the next: which rows are to be computed, by how many array tasks, and how.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from jobs.storage import checked_json
from jobs.storage.files import intact, write_bytes
from jobs.storage.plans import Plan
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Range, Spans

# Failures for one reason that are the samples' own: so many however small their shard is, and this share where nobody says.
_ALWAYS_ALLOWED, _SAME_FAILURE = 20, 0.05


@dataclass(frozen=True)
class NodeSettings:
    """How an array task runs its shards; none of it changes the result's bytes. The config's defaults are these.

    ``processes`` is None for one per device, "auto" for as many as there is room for; ``workers`` counts pool workers per
    process; times are seconds; ``max_failed_samples`` is a share (float) or a number (int) of a shard's samples;
    ``memory`` is bytes, None: what the task may use; ``scratch`` is the folder of its temporary files, with variables of the
    node. ``poison_batches``: what a Job keeps of a batch without a copy shows. ``in_flight`` counts the samples that a process
    of a Job with ``process_sample`` has under way at a time; ``max_same_failure`` is the share of a shard's samples that may
    fail in processing for one reason (None: 5%, or all that may fail); ``gpus_per_process``: so many GPUs are each process's
    own (None: see ``devices``).
    """

    processes: int | str | None = None
    workers: int = 2
    devices: str | tuple[str, ...] = "auto"
    sample_timeout: float = 600.0
    max_failed_samples: float | int = 0.01
    sync_interval: float = 10.0
    memory: int | None = None
    scratch: str | None = None
    poison_batches: bool = False
    in_flight: int = 64
    max_same_failure: float | None = None
    gpus_per_process: int | None = None

    @property
    def cpus_per_process(self) -> int:
        """CPUs that a process is to have: those of its pool workers, and one for each GPU that is its own."""
        return max(self.workers, 1) + (self.gpus_per_process or 0)

    def failure_budget(self, rows: int) -> int:
        """The most samples of a shard of ``rows`` that may fail."""
        limit = self.max_failed_samples
        return limit if isinstance(limit, int) else int(limit * rows)

    def same_failures(self, rows: int) -> int:
        """The most samples of a shard of ``rows`` that may fail in processing for one reason."""
        if self.max_same_failure is None:
            return max(_ALWAYS_ALLOWED, int(_SAME_FAILURE * rows), self.failure_budget(rows))
        return max(_ALWAYS_ALLOWED, int(self.max_same_failure * rows))


@dataclass(frozen=True)
class ResultForm:
    """In which form a result is written; its rows are the same in any.

    ``max_file_size``: bytes of each of its files, at most, unless a batch is larger (None: it is one file).
    ``compression``: of its outputs: "gzip", or "" for none. ``store``: the URL of the object that it becomes once it is whole,
    {manifest} in it for the name of one of several ("": it stays a file); ``format``: that of another program, in which it is
    objects below that URL ("": HDF5).
    """

    max_file_size: int | None = None
    compression: str = ""
    store: str = ""
    format: str = ""

    @property
    def room(self) -> int | None:
        """Bytes of a file for what it holds: a compressed chunk begins at a page, and may be no smaller than it was."""
        if self.max_file_size is None or not self.compression:
            return self.max_file_size
        return self.max_file_size * 97 // 100


PLAIN = ResultForm()


@dataclass(frozen=True)
class Resources:
    """What a submission was asked with, beside its shards and how a node runs them.

    ``attempts`` is how many each shard gets in all, ``attempt`` which of them this is, ``continues`` the submission that made
    the one before. ``output``: where the result goes (None: into the run directory). ``config`` is the whole config, for
    the submission that follows; ``profiles``: what of it profiles say, by key, with file and line. ``parallelism``: array
    tasks at a time (None: as the config says). Of Slurm: the nodes of an array task, sbatch options that differ from the
    config's since an attempt ran out of something, and in ``follower`` the number that names the finalize job. ``attended``:
    there is none, `launcher run` does what it would. ``single_jobs``: each array task is a Slurm job of its own, where there
    are no arrays. ``warning`` is how many seconds before its time limit a task is told to leave (None: an older version made
    it), ``grace`` in how many it is gone then, ``requeue`` whether it asks for another start; ``default_time``: the limit,
    seconds, that its partition gives where none is asked for. ``stall``: after how many seconds without a batch it ends.
    ``max_file_size``, ``compression``, ``store`` and ``format`` are of the result. ``begins_at_once``: not after the run that
    it overlaps with, since Slurm does not let it.
    """

    parallelism: int | None = None
    nodes_per_task: int | None = None
    attempts: int = 1
    output: str | None = None
    config: Mapping[str, Any] | None = None
    profiles: Mapping[str, str] = field(default_factory=dict)
    follower: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1
    continues: int | None = None
    attended: bool = False
    single_jobs: bool = False
    warning: int | None = None
    grace: int = 20
    requeue: bool = True
    default_time: int | None = None
    stall: int | None = None
    max_file_size: int | None = None
    compression: str = ""
    store: str = ""
    format: str = ""
    begins_at_once: bool = False

    @property
    def form(self) -> ResultForm:
        """In which the result is to be written."""
        return ResultForm(self.max_file_size, self.compression, self.store, self.format)

    @property
    def gathers(self) -> bool:
        """Whether the result is to be written; else what attempts have stored is the result, where it lies."""
        return bool((self.config or {}).get("output", {}).get("gather", True))

    def to_json(self) -> dict[str, Any]:
        """Without what has its default, but for what every submission tells: that stands in the file of any version."""
        return {
            name: value
            for name, value in vars(self).items()
            if name in _IN_EVERY_VERSION or value != getattr(_DEFAULTS, name)
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**_known(cls, data))


def _known(cls: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that are fields of the dataclass: those that only a newer version knows are left out."""
    names = {field.name for field in dataclasses.fields(cls)}
    return {key: value for key, value in data.items() if key in names}


_DEFAULTS = Resources()
_IN_EVERY_VERSION = ("attempts", "output")


@dataclass(frozen=True)
class Submission:
    """One submission: ``rows`` are to be computed by ``tasks`` array tasks; all of them lie in ``ranges``.

    Worker w (an array task, or one of its nodes) begins with ranges w, w + workers, w + 2 workers ... and then takes over
    what others have left. ``failed_before`` counts, by shard, the failed samples of its other rows: the failure budget is
    the whole shard's. ``job_ids`` are Slurm's, added after sbatch; ``process`` identifies the local executor (host, pid,
    start time). ``planned``: written by `launcher plan`, and nobody has submitted it yet, unless with sbatch by hand.
    ``shards`` is what a version without ``rows`` wrote. ``owner``: the user whose jobs these are; None: not recorded.
    ``cluster`` has them; None: that of the machine that submitted them. ``plan`` is the fingerprint of the plan whose rows
    these are, ``folder`` where the run is: a copy of it is another run.
    """

    number: int
    executor: str
    created: float
    tasks: int
    rows: Spans
    ranges: tuple[Range, ...]
    node: NodeSettings
    resources: Resources = field(default_factory=Resources)
    failed_before: Mapping[int, int] = field(default_factory=dict)
    job_ids: tuple[str, ...] = ()
    finalize_id: str | None = None
    planned: bool = False
    process: dict[str, Any] | None = None
    shards: tuple[int, ...] = ()
    owner: str | None = None
    cluster: str | None = None
    plan: str = ""
    folder: str = ""

    def is_of(self, plan: Plan) -> bool:
        """Whether it was made for this plan, as far as it says."""
        return self.plan in ("", plan.fingerprint)

    @property
    def workers(self) -> int:
        """How many of them work at it, each with ranges of its own."""
        return self.tasks * (self.resources.nodes_per_task or 1)

    @property
    def is_submitted(self) -> bool:
        """Whether a scheduler has all of it: of one by one, a launcher that was killed has submitted some."""
        return bool(self.job_ids) and not (self.resources.single_jobs and len(self.job_ids) < self.tasks)

    @property
    def is_left_to_launcher(self) -> bool:
        """Whether no scheduler has it yet, and no job of one is going to submit it."""
        return self.resources.attended and not self.job_ids

    def work(self, table: ShardTable) -> Spans:
        """The rows that it is to compute, whichever version wrote it."""
        return self.rows or table.rows_of(self.shards)

    def write(self, path: Path) -> None:
        known = {key: value for key, value in vars(self).items() if value or key not in ("shards", "cluster")}
        own = {"rows": str(self.rows), "node": dataclasses.asdict(self.node), "resources": self.resources.to_json()}
        write_bytes(path, checked_json.encode({**known, **own}))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises RunError where it is damaged, FileNotFoundError where there is none."""
        run = path.parent.parent
        return intact(path, cls._from, f"what is computed is not in it. Remove it, then: launcher rerun {run}")

    @classmethod
    def _from(cls, path: Path) -> Self:
        data = checked_json.decode(path.read_bytes())
        if "groups" in data:
            groups = data["groups"]
            shards = tuple(shard for group in groups for shard in group)
            data |= {"tasks": len(groups), "rows": "", "ranges": (), "shards": shards}
        data = _known(cls, data)
        node = _known(NodeSettings, data["node"])
        if isinstance(node["devices"], list):
            node["devices"] = tuple(node["devices"])
        failed = {int(shard): samples for shard, samples in data.get("failed_before", {}).items()}
        return cls(
            **{
                **data,
                "shards": tuple(data.get("shards", ())),
                "rows": Spans.parse(data["rows"]),
                "ranges": tuple(map(tuple, data["ranges"])),
                "node": NodeSettings(**node),
                "resources": Resources.from_json(data.get("resources", {})),
                "failed_before": failed,
                "job_ids": tuple(data["job_ids"]),
            }
        )
