"""Extend: a run whose manifest has grown gets the new samples as new shards, after those that it has.

Rows, batches and shards that there are keep their numbers, so that what is done stays done. A larger plan is made once, under
a name of its own (plan-2.json), with a manifest that gets its last name only after that: killed at any moment, there is the
old plan or the new one. Of two launchers that extend a run at the same time, one is told that the other was first.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.errors import InputError, RunError
from jobs.gather.manifest_check import check_manifest
from jobs.storage.files import fsync_file, fsync_folder, rename_synced, temporary_name, write_once
from jobs.storage.growth import Growth
from jobs.storage.manifest_column import as_costs
from jobs.storage.old_run import import_run
from jobs.storage.plans import GROWN_FORMAT, Plan
from jobs.storage.records import Part
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from launcher.config.config import Config
from launcher.manifest.grown import rows_of, write_grown
from launcher.plan.comparison import Comparison, Sources, compare
from launcher.plan.replacement import refuse_while_it_goes_on
from launcher.plan.sharding import split_parts
from launcher.runs.cleaned import refuse_cleaned
from launcher.runs.submissions import read_submissions


@dataclass(frozen=True)
class Extended:
    """The plan, and what was found: samples that are new, changed, gone; ``shards`` are those that were added."""

    plan: Plan
    new: int
    changed: int
    gone: int
    shards: int


def extend(run: RunDir, config: Config, given: Sources | None, *, again: bool) -> Extended:
    """Adds the samples of data.manifest, or of the ``given`` sources, that the run lacks.

    ``again``: those that have changed are computed again; else they stay as they were. ``config`` has the settings of the
    run. Raises InputError where samples cannot be told apart, or added where they belong; RunError while something of the
    run goes on, and where another launcher extends it.
    """
    if of_run := config.data.of_run:
        raise InputError(
            f"{run.path}: its samples are those of run {of_run.run}: extend that one, and compute this one anew: "
            f"launcher rerun {run.argument} --fresh"
        )
    _refuse_now(run)
    import_run(run)
    known = Plan.read(run.plan)
    _settle(run, known)
    check_manifest(run, known)
    submission = max((one.number for one in read_submissions(run) if one.outcome), default=0)
    sources = (config.data.manifests or config.data.sources) if given is None else given
    with TemporaryDirectory(suffix=".tmp", dir=run.path, ignore_cleanup_errors=True) as folder:
        found = compare(run, known, config, sources, Path(folder) / run.manifest.name)
        _refuse_shifts(run, known, found)
        plan = known
        if found.new or (again and found.changed):
            growth = _growth(known, found, submission, again=again)
            plan = _publish(run, _grown(known, config, found, growth, own=given is None), found)
    return Extended(plan, found.new, found.changed, found.gone, plan.shard_count - known.shard_count)


def _refuse_now(run: RunDir) -> None:
    refuse_cleaned(run)
    refuse_while_it_goes_on(run, "is to grow")


def _refuse_shifts(run: RunDir, known: Plan, found: Comparison) -> None:
    """The rows of a result lie together, so only the last of several manifests can grow."""
    for one in found.parts:
        if len(one.match.new) and one.part.stop < known.rows:
            raise InputError(
                f"{run.path}: {one.part.name} has new samples, and samples of another manifest follow it in this run, so it "
                f"cannot grow: give them as a manifest of their own ({one.part.name}-2=MANIFEST, with a result of its own)"
            )


def _growth(known: Plan, found: Comparison, submission: int, *, again: bool) -> Growth:
    changed = _changed_rows(found) if again else np.empty(0, np.int64)
    return Growth(
        time=time.time(),
        submission=submission,
        rows_before=known.rows,
        rows=known.rows + found.new,
        changed=str(Spans.of_numbers(changed.tolist())),
        manifest=known.manifest["fingerprint"],
        sources=tuple(source.path for source in found.info.sources),
    )


def _changed_rows(found: Comparison) -> np.ndarray:
    """Of the run, by part: int64, in the order of the rows now."""
    return np.concatenate([one.part.start + one.match.changed for one in found.parts])


def _grown(known: Plan, config: Config, found: Comparison, growth: Growth, *, own: bool) -> Plan:
    """The larger plan, so far without its manifest; ``own``: the samples are those of data.manifest."""
    new = [len(one.match.new) for one in found.parts if len(one.match.new)]
    per_shard = config.data.samples_per_shard or -(-known.rows // max(known.shard_count, 1))
    boundaries = split_parts(new, None, per_shard, _costs(config, found)) if new else (0,)
    manifest, settings = {**known.manifest, "rows": growth.rows}, known.config
    if own:
        manifest["sources"] = [dict(vars(source)) for source in found.info.sources]
        data = {**settings["data"], "manifest": config.to_mapping()["data"]["manifest"]}
        settings = {**settings, "data": data}
    return replace(
        known,
        rows=growth.rows,
        boundaries=(*known.boundaries, *(known.rows + row for row in boundaries[1:])),
        parts=tuple(_parts(known, found)),
        manifest=manifest,
        config=settings,
        grown=(*known.grown, growth),
        format=GROWN_FORMAT,
    )


def _parts(known: Plan, found: Comparison) -> Iterator[Part]:
    """Those that there were, and new ones after them; the only one that grows is followed by none with rows."""
    new = {one.part.name: len(one.match.new) for one in found.parts}
    rows = {part.name: part.rows for part in known.parts}
    start = 0
    for name in dict.fromkeys((*rows, *new)) if known.parts else ():
        stop = start + rows.get(name, 0) + new.get(name, 0)
        yield Part(name, start, stop)
        start = stop


def _costs(config: Config, found: Comparison) -> np.ndarray | None:
    """Of the new samples, float64."""
    if (column := config.data.cost) is None:
        return None
    chunks = [chunk for one in found.parts for chunk in one.new.column(column).chunks]
    return np.concatenate([np.empty(0), *map(as_costs, chunks)])


def _publish(run: RunDir, plan: Plan, found: Comparison) -> Plan:
    """Writes the manifest, then the plan, which makes it the run's, and then both get their usual names."""
    written = temporary_name(run.manifest)
    try:
        fingerprint, digests = _write_manifest(written, plan, found)
        fsync_file(written)
        fsync_folder(run.path)
        _refuse_now(run)  # again: to read and write the samples may have taken long
    except BaseException as error:
        written.unlink(missing_ok=True)
        if isinstance(error, OSError):  # pyarrow's do not name the file
            raise RunError(f"{run.manifest}: one with the new samples cannot be written: {error}") from error
        raise
    named: dict[str, Any] = {"fingerprint": fingerprint, "digests": list(digests), "file": written.name}
    plan = replace(plan, manifest={**plan.manifest, **named})
    data = plan.encode()
    # From here on the file may be the run's manifest, even where this raises: only if another plan is there it is not.
    if write_once(run.grown_plan(plan.generation), data) != data:
        written.unlink()
        raise RunError(f"{run.path}: another launcher has extended this run meanwhile; try again")
    try:
        refuse_cleaned(run)  # who cleans looks for a larger plan once his word can be seen, and we for that
    except RunError:
        run.grown_plan(plan.generation).unlink()
        written.unlink(missing_ok=True)
        raise
    _settle(run, plan)
    return plan


def _write_manifest(path: Path, plan: Plan, found: Comparison) -> tuple[str, tuple[str, ...]]:
    new = [one.new for one in found.parts if len(one.match.new)]
    if not plan.grown[-1].changed:
        return write_grown(path, found.before, np.empty(0, np.int64), found.before.slice(0, 0), new, plan.parts)
    changed = _changed_rows(found)
    others = pa.concat_tables([rows_of(one.now, one.match.changed_now) for one in found.parts])
    order = np.argsort(changed)
    return write_grown(path, found.before, changed[order], rows_of(others, order), new, plan.parts)


def _settle(run: RunDir, plan: Plan) -> None:
    """Gives a plan that has grown, and its manifest, their usual names; also after somebody who was killed before."""
    if plan.grown:
        plan.write(run.plan)
        on_its_way = plan.manifest_file(run)
        if on_its_way != run.manifest:
            with suppress(FileNotFoundError):  # another launcher, which is about to make it larger, has done so
                rename_synced(on_its_way, run.manifest)
