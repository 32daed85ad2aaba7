"""Comparison: the samples of a run against what its manifests have now: which are new, changed, gone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from jobs.errors import InputError
from jobs.storage.plans import Plan
from jobs.storage.records import Part
from jobs.storage.rundir import RunDir
from launcher.config.config import Config
from launcher.manifest.grown import read_table, rows_of
from launcher.manifest.manifest import ManifestInfo, build_manifest
from launcher.manifest.match import Match, match

Sources = Sequence[str] | Mapping[str, Sequence[str]]
"""Of one manifest, or of several by their names."""


@dataclass(frozen=True)
class PartComparison:
    """The rows of a part, or of one that the run lacks so far, and its rows ``now``."""

    part: Part
    now: pa.Table
    match: Match

    @property
    def new(self) -> pa.Table:
        """The samples that the run lacks."""
        return rows_of(self.now, self.match.new)


@dataclass(frozen=True)
class Comparison:
    """All rows ``before``, and those of the manifests now, part by part; ``info`` is of all of them."""

    before: pa.Table
    parts: tuple[PartComparison, ...]
    info: ManifestInfo

    @property
    def new(self) -> int:
        """How many samples the run lacks."""
        return sum(len(one.match.new) for one in self.parts)

    @property
    def changed(self) -> int:
        """How many have another content now."""
        return sum(len(one.match.changed) for one in self.parts)

    @property
    def gone(self) -> int:
        """How many of the run the manifests lack."""
        return sum(one.match.gone for one in self.parts)

    @property
    def difference(self) -> str:
        """In words; empty where the run has all samples as they are now."""
        counts = ((self.new, "new"), (self.changed, "with another content"))
        return ", ".join(f"{count:,} {what}" for count, what in counts if count)


def compare(run: RunDir, known: Plan, config: Config, sources: Sources, path: Path) -> Comparison:
    """Reads what the sources have now, into the file ``path``. Raises InputError where it cannot be compared."""
    _check_names(run, known, sources)
    before = read_table(known.manifest_file(run))
    info = build_manifest(sources, path, known.id_column, config.data.cost, folder=config.folder, like=before.schema)
    now = read_table(path)
    parts = tuple(_parts(known, info, before, now))
    if known.id_column is None and (other := next((one for one in parts if not one.match.begins_alike), None)):
        named = f"{other.part.name}: " if other.part.name else ""
        raise InputError(
            f"{run.path}: {named}its samples have no ids (data.id), so they are known by their rows alone, and the manifest "
            f"does not begin with the {other.part.rows:,} that the run has, as they were. Give it with the new samples at its "
            "end (of several files: all of them, in that order), or plan another run, with ids"
        )
    return Comparison(before, parts, info)


def _check_names(run: RunDir, known: Plan, sources: Sources) -> None:
    names = ", ".join(str(part.name) for part in known.parts)
    if known.parts and not isinstance(sources, Mapping):
        raise InputError(f"{run.path} has several manifests ({names}): say whose samples these are, as NAME=MANIFEST")
    if not known.parts and isinstance(sources, Mapping):
        raise InputError(f"{run.path} has one manifest, without a name: leave out {next(iter(sources))}=")


def _parts(known: Plan, info: ManifestInfo, before: pa.Table, now: pa.Table) -> Iterator[PartComparison]:
    """Those of the run's parts that the sources have, in their order, then new ones."""
    if not known.parts:
        yield PartComparison(known.results[0], now, match(before, now, known.id_column))
        return
    there = {part.name: now.slice(part.start, part.rows) for part in info.parts}
    new = [Part(name, known.rows, known.rows) for name in there if name not in {part.name for part in known.parts}]
    for part in (*known.parts, *new):
        if part.name in there:
            rows = there[part.name]
            yield PartComparison(part, rows, match(before.slice(part.start, part.rows), rows, known.id_column))
