"""The sections of config.yaml as frozen models: names, types, defaults and ranges.

The defaults here are the documented ones; those of node and retry are stated by the settings that are made of them.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from jobs.storage.submission import NodeSettings, Resources
from launcher.config.sbatch_options import OptionValue, gpus_asked
from launcher.config.settings import RetrySettings
from launcher.config.values import (
    Count,
    Devices,
    Duration,
    Factor,
    FailureLimit,
    FileSize,
    Gpus,
    JobClass,
    OutputPath,
    Parallelism,
    Params,
    PathList,
    PathText,
    Processes,
    Scratch,
    Size,
    Workers,
)

# Of slurm.finalize: no Slurm job retries and writes the result.
NO_JOB = "none"


def _finalize(value: Any) -> dict[str, Any] | str:
    if value in (NO_JOB, None):  # a mapping whose keys are all commented out is null in YAML
        return value or {}
    if isinstance(value, dict):
        return value
    raise ValueError(f"must be sbatch options, lines of `key: value` below it, or {NO_JOB}, not {value!r}")


class Section(BaseModel):
    """Base of all sections: frozen, strict about types, no unknown keys."""

    # Infinite numbers are for params alone; to_mapping would have null for them.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
        populate_by_name=False,
    )


class JobSection(Section):
    """The user's Job: ``module:Class`` and its keyword arguments, which are left as they are."""

    class_: JobClass = Field(
        alias="class",
        description="module:Class, such as jobs.text_embedding:TextEmbedding; where paths start is on the import path, last",
    )
    params: Params = Field(
        default={}, description="keyword arguments of the class, checked by the types of its constructor"
    )
    import_from: PathList = Field(
        default=(), description="more folders that the Job is imported from, behind that where paths start"
    )


class NodeSection(Section):
    """What runs inside an array task. ``processes`` None: one per device. ``memory``: its own bound."""

    processes: Processes = Field(
        default=None,
        description="processes of an array task; null: one per device; auto: as many as each node has CPUs and GPUs for",
    )
    workers: Workers = Field(
        default=NodeSettings.workers, description="pool workers per process; 0: the process loads its own samples"
    )
    devices: Devices = Field(
        default=NodeSettings.devices, description="auto, cpu, cuda, or a list such as [cuda:0, cuda:1, cpu]"
    )
    batch_size: Count = Field(default=64, description="samples of a batch")
    sample_timeout: Annotated[float, Field(gt=0)] = Field(
        default=NodeSettings.sample_timeout, description="seconds; a sample over it fails"
    )
    max_failed_samples: FailureLimit = Field(
        default=NodeSettings.max_failed_samples,
        description="share (float) or number (int) of a shard's samples; over it the shard fails, one of up to "
        "1,000 samples once all are tried; a share is rounded down: 0.01 allows none in a shard of less than 100",
    )
    sync_interval: Annotated[float, Field(gt=0)] = Field(
        default=NodeSettings.sync_interval, description="seconds between syncs to disk"
    )
    memory: Size = Field(
        default=None,
        description="what an array task may use; null: its cgroup's limit, or the machine's memory, less 10%",
    )
    scratch: Scratch | None = Field(
        default=NodeSettings.scratch,
        description="folder on the node for temporary files, such as $SLURM_TMPDIR: each task has its own in it; null: TMPDIR",
    )
    poison_batches: bool = Field(
        default=NodeSettings.poison_batches,
        description="true: a batch is overwritten when it is through, so that what a Job keeps of it without a copy shows",
    )
    in_flight: Count = Field(
        default=NodeSettings.in_flight,
        description="samples of a process under way at a time, of a Job with process_sample",
    )
    max_same_failure: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=NodeSettings.max_same_failure,
        description="share of a shard's samples that may fail in processing, or take too long, for one reason, while others "
        "are good; 20 always may; over it the shard fails; null: 0.05, or what max_failed_samples allows where that is more",
    )
    gpus_per_process: Count | None = Field(
        default=NodeSettings.gpus_per_process,
        description="GPUs that each process has to itself, and sees alone (a model over several); null: as node.devices says",
    )

    @property
    def cpus_per_process(self) -> int:
        """CPUs that a process is to have: those of its pool workers, and one for each GPU that is its own."""
        return max(self.workers, 1) + (self.gpus_per_process or 0)

    def processes_for(self, gpus: int) -> int:
        """How many processes there are for so many GPUs, where their number is open."""
        return max(gpus // (self.gpus_per_process or 1), 1)


class LocalSection(Section):
    """The local executor: array tasks at a time."""

    parallelism: Parallelism = Field(
        default="auto", description="array tasks at a time; auto: as the CPUs allow, 1 with GPUs"
    )


class SlurmSection(Section):
    """The Slurm executor. ``options``: all other keys, by sbatch's long names (``mem-per-cpu``), no nulls."""

    template: PathText = Field(
        default="cpu",
        description="cpu, gpu, venv, conda, modules, spack, apptainer, pyxis, or the path of an sbatch script",
    )
    array_parallelism: Count = Field(default=256, description="array tasks of the run at a time (the % of --array)")
    tasks: Count | None = Field(
        default=None,
        description="array tasks of a submission, which share its shards; null: as many as run at once, one a shard at most",
    )
    shards_per_task: Count | None = Field(
        default=None, description="the former way to say that: tasks = shards / it; goes with the next version"
    )
    nodes_per_task: Count = Field(default=1, description="nodes of an array task; each works on shards of its own")
    cpus_per_task: Count | None = Field(
        default=None,
        description="null: processes x (max(workers, 1) + gpus_per_process); more is kept, less is refused",
    )
    gpus_per_task: Gpus = Field(default=None, description="as for sbatch: a number, or type:number")
    warning: Annotated[int, Field(ge=10, le=65535)] | None = Field(
        default=None,
        description="10 or more: seconds before the time limit at which a task is told to leave; null: 60, "
        "of a short limit a quarter",
    )
    grace: Annotated[int, Field(ge=5, le=3600)] = Field(
        default=Resources.grace,
        description="seconds in which a task that is told to leave has committed the batches at hand and is gone",
    )
    requeue: bool = Field(
        default=Resources.requeue,
        description="false: what is preempted, or out of time, goes on in another submission, not by Slurm's requeue",
    )
    finalize: Annotated[
        dict[str, OptionValue | None] | Literal["none"],
        BeforeValidator(_finalize),
        WithJsonSchema({"anyOf": [{"type": ["object", "null"]}, {"const": NO_JOB}]}),
    ] = Field(
        default={},
        description="sbatch options of the job that retries and writes the result, over the array's (null: without that "
        "one); none: no such job, `launcher run` on the login node does it",
    )
    options: dict[str, OptionValue] = {}

    def tasks_for(self, shards: int) -> int:
        """Array tasks of a submission of that many shards, as far as the config tells: each node has one, where it is open."""
        together = (self.shards_per_task or 1) * self.nodes_per_task
        needed = math.ceil(shards / together)
        return self.tasks or (needed if self.shards_per_task else min(needed, self.array_parallelism))

    @property
    def finalize_options(self) -> Mapping[str, OptionValue | None]:
        """Those of the finalize job, by sbatch's long names."""
        return self.finalize if isinstance(self.finalize, dict) else {}

    @property
    def is_attended(self) -> bool:
        """Whether `launcher run` does what the finalize job would."""
        return self.finalize == NO_JOB

    @property
    def says_tasks(self) -> bool:
        """Whether the number of array tasks is the user's own."""
        return bool(self.tasks or self.shards_per_task)

    @property
    def gpus(self) -> int:
        """GPUs that an array task asks for on each of its nodes, in any of sbatch's ways."""
        own = {} if self.gpus_per_task is None else {"gpus-per-task": self.gpus_per_task}
        return gpus_asked({**self.options, **own}, self.nodes_per_task)


class RetrySection(Section):
    """What the finalize job may do: attempts per shard in all, the growth of memory and time."""

    attempts: Count = Field(default=RetrySettings.attempts, description="attempts at a shard in all")
    memory_factor: Factor = Field(
        default=RetrySettings.memory_factor, description="growth of memory after OUT_OF_MEMORY"
    )
    max_memory: Size = Field(default=None, description="limit of that growth")
    time_factor: Factor = Field(
        default=RetrySettings.time_factor, description="growth of the time limit after TIMEOUT without progress"
    )
    max_time: Duration = Field(default=None, description="limit of that growth")
    exclude_failed_nodes: bool = Field(
        default=RetrySettings.exclude_failed_nodes, description="avoid nodes that failed or could not start a task"
    )
    stall: Duration = Field(
        default=None,
        description="an array task that finishes no batch for so long ends as STALLED, and others do its rows; more than its "
        "set-up and its slowest batch take; null: never",
    )


class OutputSection(Section):
    """Where the result goes (None: result.h5 in the run directory), and whether it is written at all."""

    path: OutputPath | None = Field(
        default=None,
        description="where the result goes: a file, or an object of a store (s3://bucket/name.h5), {manifest} for the name of "
        "several; null: result.h5 in the run directory",
    )
    format: Literal["parquet", "numpy", "webdataset", "zarr", "lance"] | None = Field(
        default=None,
        description="of a result in a store: a folder of files of another program (parquet, numpy, webdataset, zarr, lance), "
        "as export makes it, with output.path as its name; null: HDF5",
    )
    gather: bool = Field(
        default=True, description="false: no result is written; what is stored is read where it lies, or exported"
    )
    max_file_size: FileSize = Field(
        default=None,
        description="of the result: it is several files of this size at most (1M or more; larger only for a larger batch), "
        "with an index; null: one file",
    )
    compression: Literal["gzip"] | None = Field(
        default=None, description="of the outputs in the result: gzip (HDF5's deflate, in chunks); null: none"
    )
