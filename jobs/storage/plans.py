"""Plan: plan.json, written by the login node, read by array tasks and status.

It is frozen: it holds all that decides the result's bytes.
"""

import dataclasses
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from jobs.errors import InputError, RunError
from jobs.nearest import did_you_mean, nearest
from jobs.storage import checked_json
from jobs.storage.files import exists, has_content, intact, write_bytes
from jobs.storage.growth import Growth
from jobs.storage.records import JobSpec, Part
from jobs.storage.rundir import RunDir
from jobs.storage.shard_table import Shard, ShardTable, no_shard
from jobs.storage.spans import Spans, union

FORMAT = 3
GROWN_FORMAT = 4
"""Of a plan that has grown: older versions would not know which of its samples are others now."""
OLD_FORMATS = (1, 2)
"""Of runs whose shards have files of their own: storage/old_shards.py reads these."""
_GIVEN = re.compile(r"/.*/given/((?:code|samples)-[0-9a-f]{12}\b.*)", re.DOTALL)
_MAY_BE_EMPTY = ("parts", "files", "code", "kept", "grown", "after")


@dataclass(frozen=True)
class Plan:
    """What a run computes: ``boundaries`` are the shards' first rows and, last, the number of rows.

    ``parts`` are the manifests where there are several, in the order of their rows; no shard lies in two of them.
    ``batch_size`` and ``seed`` decide the batches; ``config`` is the whole config with its defaults, for messages and
    comparison; ``environment`` and ``git`` record what planned it; ``files`` are those that params name, ``code`` those that
    the Job is made of (launcher.plan). ``kept`` are the changes of the Job of which somebody said that results stay right,
    ``grown`` what was added since it was made, after the rows that there were; the fingerprint is of the plan before them.
    ``after`` are the run directories of those that have to be complete before.
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
    grown: tuple[Growth, ...] = ()

    @property
    def generation(self) -> int:
        """How often it was written as another one: 1, and 1 more each time that it grew."""
        return 1 + len(self.grown)

    def manifest_file(self, run: RunDir) -> Path:
        """Where its samples are."""
        return run.manifest_of(self.manifest.get("file"))

    def void_since(self, generation: int) -> Spans:
        """The rows of which somebody who read the plan in that generation had other samples; whole batches."""
        if generation >= self.generation:
            return Spans()
        changed = union(growth.changed_rows for growth in self.grown[generation - 1 :])
        return self.table.whole_batches(changed)

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

    def check_shard(self, index: int, run: RunDir) -> None:
        """Raises InputError where there is no such shard."""
        if not 0 <= index < self.shard_count:
            raise InputError(f"{run.path}: {no_shard(index, self.shard_count)}")

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
        shards = list(self.boundaries) if self.format in OLD_FORMATS else _pack(self.boundaries)
        # Without the boundaries, of which asdict would copy each.
        data = {**dataclasses.asdict(dataclasses.replace(self, boundaries=())), "boundaries": shards}
        if not self.job.import_from:  # older versions do not know of it
            del data["job"]["import_from"]
        return {key: value for key, value in data.items() if value or key not in _MAY_BE_EMPTY}

    def encode(self) -> bytes:
        """The content of plan.json."""
        return checked_json.encode(self.to_json())

    def write(self, path: Path) -> None:
        write_bytes(path, self.encode())

    @classmethod
    def read(cls, path: Path, run: Path | None = None) -> Self:
        """``run``: where that lies, if not where the plan does.

        Raises InputError where there is no plan, RunError where it is damaged or was written by a newer version.
        """
        run = run or path.parent
        try:
            plan = cls._read_intact(path, run)
        except FileNotFoundError:
            raise InputError(f"{path.parent}: no run directory (it has no {path.name}); see `launcher list`") from None
        # A plan that grows is made once, under a name of its own; plan.json is written a moment later, or was not.
        while has_content(larger := RunDir(path.parent).grown_plan(plan.generation + 1)):
            plan = cls._read_intact(larger, run)
        return plan

    @classmethod
    def _read_intact(cls, path: Path, run: Path) -> Self:
        return intact(
            path,
            partial(cls._from, run=run),
            "bring back a copy of it, or plan another run: what is done needs this plan",
        )

    @classmethod
    def _from(cls, path: Path, run: Path) -> Self:
        data = _found_in(run, checked_json.decode(path.read_bytes()))
        if data["format"] not in (*OLD_FORMATS, FORMAT, GROWN_FORMAT):
            raise RunError(
                f"{path} has format {data['format']}; this version reads up to {GROWN_FORMAT}: use the one that planned it"
            )
        several = {Part: data.get("parts", ()), Growth: data.get("grown", ())}
        for kind, told in {cls: [data], JobSpec: [data["job"]], **several}.items():
            for one in told:
                refuse_unknown(one, kind, path)
        spec = data.pop("job")
        job = JobSpec(**{**spec, "import_from": tuple(spec.get("import_from", ()))})
        parts = tuple(Part(**part) for part in data.pop("parts", ()))
        if strange := [part.name for part in parts if part.name and Path(part.name).name != part.name]:
            raise ValueError(f"{strange[0]!r} is no name of a manifest")  # it becomes a part of the result's path
        is_old, boundaries, rows = data["format"] in OLD_FORMATS, data["boundaries"], data["rows"]
        boundaries = tuple(boundaries) if is_old else _unpack(boundaries, rows)
        tuples = {name: tuple(data.pop(name, ())) for name in ("kept", "after")}
        grown = tuple(Growth(**{**one, "sources": tuple(one["sources"])}) for one in data.pop("grown", ()))
        return cls(**{**data, **tuples, "boundaries": boundaries, "job": job, "parts": parts, "grown": grown})


def refuse_unknown(data: Mapping[str, Any], kind: type[Any], where: Path | str) -> None:
    """Raises RunError for fields of a dataclass that only a newer version knows: it writes them where they matter."""
    if strange := data.keys() - {field.name for field in dataclasses.fields(kind)}:
        raise RunError(
            f"{where} has {', '.join(sorted(strange))}, which this version does not know: use the one that planned it"
        )


def _found_in(run: Path, data: Any) -> Any:
    """The data of a plan with what a script or notebook gave where it is now: the run may have been renamed, or be a copy.

    Files of the same name are the same, so one that is where the plan says is left alone.
    """
    if isinstance(data, dict):
        return {key: _found_in(run, value) for key, value in data.items()}
    if isinstance(data, list):
        return [_found_in(run, value) for value in data]
    if isinstance(data, str) and (named := _GIVEN.fullmatch(data)) and not exists(Path(data)):
        return os.path.abspath(RunDir(run).given / named[1])
    return data


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
