"""Plan and Submission: plan.json and submissions/NNNN.json, written by the login node, read by array tasks and status.

A Plan is frozen: it holds all that decides the result's bytes. A Submission holds what may differ from one sbatch call
to the next: which rows are to be computed, by how many array tasks, and how.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from jobs.errors import InputError, RunError
from jobs.nearest import did_you_mean, nearest
from jobs.storage import checked_json
from jobs.storage.files import intact, write_bytes
from jobs.storage.records import JobSpec, Part, Shard
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Range, Spans

FORMAT = 3
OLD_FORMATS = (1, 2)
"""Of runs whose shards have files of their own: storage/old_shards.py reads these."""
_MAY_BE_EMPTY = ("parts", "files", "code", "kept", "after")


@dataclass(frozen=True)
class Plan:
    """What a run computes: ``boundaries`` are the shards' first rows and, last, the number of rows.

    ``parts`` are the manifests where there are several, in the order of their rows; no shard lies in two of them.
    ``batch_size`` and ``seed`` decide the batches; ``config`` is the whole config with its defaults, for messages and
    comparison; ``environment`` and ``git`` record what planned it; ``files`` are those that params name, ``code`` those that
    the Job is made of (launcher.plan). ``kept`` are the changes of the Job of which somebody said that results stay right;
    the fingerprint is of the plan before them. ``after`` are the run directories of those that have to be complete before.
    """

    name: str
    fingerprint: str
    created: float
    rows: int
    id_column: str | None
    boundaries: tuple[int, ...]
    job: JobSpec
    batch_size: int
    seed: int
    config: dict[str, Any]
    manifest: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    git: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT
    parts: tuple[Part, ...] = ()
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    code: dict[str, dict[str, str]] = field(default_factory=dict)
    kept: tuple[dict[str, Any], ...] = ()
    after: tuple[str, ...] = ()

    @property
    def known_since(self) -> float:
        """When the Job was looked at last, seconds since the epoch."""
        return float(self.kept[-1]["time"]) if self.kept else self.created

    @property
    def shard_count(self) -> int:
        return len(self.boundaries) - 1

    @cached_property
    def manifest_digests(self) -> tuple[str, ...]:
        """Of the record batches of manifest.arrow; empty in a plan by an older version."""
        return tuple(self.manifest.get("digests", ()))

    @cached_property
    def table(self) -> ShardTable:
        """Its shards and batches."""
        return ShardTable(self.boundaries, self.batch_size)

    def shard(self, index: int) -> Shard:
        return Shard(index, self.boundaries[index], self.boundaries[index + 1])

    def shards(self) -> list[Shard]:
        return [self.shard(index) for index in range(self.shard_count)]

    @property
    def results(self) -> tuple[Part, ...]:
        """The rows of each result: those of the parts, or all."""
        return self.parts or (Part(None, 0, self.rows),)

    def shards_of(self, part: Part) -> Spans:
        """The shards of a part."""
        return self.table.shards_in(Spans([(part.start, part.stop)]))

    def part(self, name: str) -> Part:
        """One of several manifests. Raises InputError, with the valid names, where there is none of that name."""
        found = next((part for part in self.parts if part.name == name), None)
        if found is None:
            names = [str(part.name) for part in self.parts]
            guess = did_you_mean([repr(near) for near in nearest(name, names)])
            raise InputError(
                f"no manifest {name!r}{guess}; the run has {', '.join(names) or 'only one, without a name'}"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """As in plan.json; what may be empty only where it is not, and shards of one size together."""
        shards = {} if self.format in OLD_FORMATS else {"boundaries": _pack(self.boundaries)}
        data = {**dataclasses.asdict(self), **shards}
        return {key: value for key, value in data.items() if value or key not in _MAY_BE_EMPTY}

    def encode(self) -> bytes:
        """The content of plan.json."""
        return checked_json.encode(self.to_json())

    def write(self, path: Path) -> None:
        write_bytes(path, self.encode())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises InputError where there is no plan, RunError where it is damaged or was written by a newer version."""
        try:
            return intact(path, cls._from, "bring back a copy of it, or plan another run: what is done needs this plan")
        except FileNotFoundError:
            raise InputError(f"{path.parent}: no run directory (it has no {path.name}); see `launcher list`") from None

    @classmethod
    def _from(cls, path: Path) -> Self:
        data = checked_json.decode(path.read_bytes())
        if data["format"] not in (*OLD_FORMATS, FORMAT):
            raise RunError(
                f"{path} has format {data['format']}; this version reads up to {FORMAT}: use the one that planned it"
            )
        job = JobSpec(**data.pop("job"))
        parts = tuple(Part(**part) for part in data.pop("parts", ()))
        if strange := [part.name for part in parts if part.name and Path(part.name).name != part.name]:
            raise ValueError(f"{strange[0]!r} is no name of a manifest")  # it becomes a part of the result's path
        is_old, boundaries, rows = data["format"] in OLD_FORMATS, data["boundaries"], data["rows"]
        boundaries = tuple(boundaries) if is_old else _unpack(boundaries, rows)
        kept, after = tuple(data.pop("kept", ())), tuple(data.pop("after", ()))
        return cls(**{**data, "boundaries": boundaries, "job": job, "parts": parts, "kept": kept, "after": after})


def _pack(boundaries: Sequence[int]) -> list[list[int]]:
    """[rows, count] of neighbouring shards with as many rows: a line for a million equal shards."""
    sizes = itertools.groupby(stop - start for start, stop in itertools.pairwise(boundaries))
    return [[rows, sum(1 for _ in alike)] for rows, alike in sizes]


def _unpack(sizes: Sequence[tuple[int, int]], rows: int) -> tuple[int, ...]:
    # Before there are as many numbers as it says: a plan of a version without checksums may be damaged, or somebody else's.
    if sum(size * count for size, count in sizes) != rows or any(size < 1 < count for size, count in sizes):
        raise ValueError(f"its shards do not have its {rows} rows")
    shards = itertools.chain.from_iterable(itertools.repeat(rows, count) for rows, count in sizes)
    return tuple(itertools.accumulate(shards, initial=0))


@dataclass(frozen=True)
class NodeSettings:
    """How an array task runs its shards; none of it changes the result's bytes. The config's defaults are these.

    ``processes`` is None for one per device, "auto" for as many as there is room for; ``workers`` counts pool workers per
    process; times are seconds; ``max_failed_samples`` is a share (float) or a number (int) of a shard's samples;
    ``memory`` is bytes, None: what the task may use; ``scratch`` is the folder of its temporary files, with variables of the
    node. ``poison_batches``: what a Job keeps of a batch without a copy shows.
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

    def failure_budget(self, rows: int) -> int:
        """The most samples of a shard of ``rows`` that may fail."""
        limit = self.max_failed_samples
        return limit if isinstance(limit, int) else int(limit * rows)


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
    seconds, that its partition gives where none is asked for.
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
