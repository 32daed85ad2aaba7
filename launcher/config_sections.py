"""The sections of config.yaml as frozen models: names, types, defaults and ranges. Used by launcher.config.

The defaults here are the documented ones. Where a value can be of two kinds, a function says what is valid,
because a message about each kind in turn would not help.
"""

import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from launcher.sbatch_options import OptionValue, gpus_asked
from launcher.units import format_memory, format_time, parse_memory, parse_time

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CLASS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_DEVICE = re.compile(r"cpu|cuda:\d+")
_GPUS = re.compile(r"(?:[\w.-]+:)?\d+(?:,[\w.-]+:\d+)*")


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def check_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            "must be a folder name: letters, digits, '.', '_' and '-', at most 100, not beginning with a sign"
        )
    return value


def _class_path(value: str) -> str:
    if not _CLASS.fullmatch(value):
        raise ValueError("must be module:Class, such as jobs.text_embedding:TextEmbedding")
    return value


def _manifest(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) and item for item in value):
        return tuple(value)
    raise ValueError(f"must be the path of a table, a glob of sample files, or a list of these, not {value!r}")


def _devices(value: Any) -> str | tuple[str, ...]:
    if value in ("auto", "cpu", "cuda"):
        return str(value)
    items = [value] if isinstance(value, str) else value
    if isinstance(items, list) and items and all(isinstance(item, str) and _DEVICE.fullmatch(item) for item in items):
        return tuple(items)
    raise ValueError(f"must be auto, cpu, cuda, or a list such as [cuda:0, cuda:1, cpu], not {value!r}")


def _failure_limit(value: Any) -> float | int:
    if (_is_number(value, int) and value >= 0) or (_is_number(value, float) and 0 <= value <= 1):
        return value  # type: ignore[no-any-return]
    raise ValueError(f"must be a share from 0.0 to 1.0 or a number of samples (0, 1, 2 ...), not {value!r}")


def _parallelism(value: Any) -> int | Literal["auto"]:
    if value == "auto" or (_is_number(value, int) and value >= 1):
        return value  # type: ignore[no-any-return]
    raise ValueError(f"must be auto or a number from 1, not {value!r}")


def _gpus(value: Any) -> int | str | None:
    if value is None or (_is_number(value, int) and value >= 0):
        return value  # type: ignore[no-any-return]
    if isinstance(value, str) and _GPUS.fullmatch(value):
        return value
    raise ValueError(f"must be a number from 0, with a type before it if need be (a100:2), not {value!r}")


def _size(value: Any) -> str | None:
    return None if value is None else format_memory(parse_memory(value))


def _duration(value: Any) -> str | None:
    return None if value is None else format_time(parse_time(value))


Size: TypeAlias = Annotated[str | None, BeforeValidator(_size)]
Duration: TypeAlias = Annotated[str | None, BeforeValidator(_duration)]
Names: TypeAlias = str | tuple[str, ...]
Count: TypeAlias = Annotated[int, Field(ge=1)]
Column: TypeAlias = Annotated[str, Field(min_length=1)]
PathText: TypeAlias = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """Base of all sections: frozen, strict about types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=False)


class JobSection(Section):
    """The user's Job: ``module:Class`` and its keyword arguments, which are left as they are."""

    class_: Annotated[str, AfterValidator(_class_path)] = Field(
        alias="class", description="the Job, such as jobs.text_embedding:TextEmbedding"
    )
    params: dict[str, Any] = {}


class DataSection(Section):
    """The samples, and how they are cut into shards."""

    manifest: Annotated[Names, BeforeValidator(_manifest)] = Field(
        description="a .csv, .tsv, .jsonl, .parquet or .arrow file, a glob of files, or a list of these"
    )
    id: Column | None = None
    cost: Column | None = None
    shards: Count | None = None
    samples_per_shard: Count | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """``manifest`` as a tuple, for launcher.manifest.build_manifest."""
        return (self.manifest,) if isinstance(self.manifest, str) else self.manifest


class NodeSection(Section):
    """What runs inside an array task. ``processes`` None: one per device. ``memory``: its own bound."""

    processes: Count | None = None
    workers: Annotated[int, Field(ge=0)] = 2
    devices: Annotated[Names, BeforeValidator(_devices)] = "auto"
    batch_size: Count = 64
    sample_timeout: Annotated[float, Field(gt=0)] = 600.0
    max_failed_samples: Annotated[float | int, BeforeValidator(_failure_limit)] = 0.01
    sync_interval: Annotated[float, Field(gt=0)] = 10.0
    memory: Size = None


class LocalSection(Section):
    """The local executor: array tasks at a time."""

    parallelism: Annotated[int | Literal["auto"], BeforeValidator(_parallelism)] = "auto"


class SlurmSection(Section):
    """The Slurm executor. ``options``: all other keys, by sbatch's long names (``mem-per-cpu``), no nulls."""

    template: PathText = "cpu"
    array_parallelism: Count = 256
    shards_per_task: Count = 1
    nodes_per_task: Count = 1
    cpus_per_task: Count | None = None
    gpus_per_task: Annotated[int | str | None, BeforeValidator(_gpus)] = None
    options: dict[str, OptionValue] = {}

    @property
    def gpus(self) -> int:
        """GPUs that an array task asks for, in any of sbatch's ways."""
        own = {} if self.gpus_per_task is None else {"gpus-per-task": self.gpus_per_task}
        return gpus_asked({**self.options, **own})


class RetrySection(Section):
    """What the finalize job may do: attempts per shard in all, the growth of memory and time."""

    attempts: Count = 3
    memory_factor: Annotated[float, Field(ge=1)] = 1.5
    max_memory: Size = None
    time_factor: Annotated[float, Field(ge=1)] = 1.5
    max_time: Duration = None
    exclude_failed_nodes: bool = True


class OutputSection(Section):
    """Where the result goes; None: result.h5 in the run directory."""

    path: PathText | None = None
