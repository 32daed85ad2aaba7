"""Planning: Config -> run directory. Checks everything that can be checked before a node is asked for.

plan.json is written last, so a folder without it was interrupted and is planned anew. A run that is planned already is
only compared: its fingerprint covers all that decides the bytes of the result.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xxhash

from jobs.errors import InputError
from jobs.job import make_job
from jobs.storage.files import write_bytes
from jobs.storage.plans import FORMAT, Plan
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir
from launcher.config import Config
from launcher.guard import config_path, deciding_differences, refuse_changes
from launcher.manifest import ManifestInfo, build_manifest, read_costs
from launcher.provenance import describe_environment, describe_git
from launcher.sharding import default_shards, split_by_cost, split_by_size, split_evenly

# Batches are seeded from it and their first row: the same plan always draws the same numbers.
_SEED = 0


@dataclass(frozen=True)
class Planned:
    """A run that is ready to submit; ``is_new`` is False where it had been planned before."""

    run: RunDir
    plan: Plan
    is_new: bool


def make_plan(config: Config) -> Planned:
    """Plans the run of a config, or checks that it was planned from the same. Raises InputError for all that is wrong."""
    run = RunDir(config.run_folder)
    job = JobSpec(config.job.class_, config.job.params, str(config.folder))
    _check_job(job)
    _check_output(config)
    if run.plan.exists():
        return Planned(run, _check_existing(run, config, job), is_new=False)
    _check_folder(run)
    run.make()
    manifest = _build(config, run.manifest)
    plan = _new_plan(config, job, manifest, run.manifest)
    write_bytes(run.config, _frozen_config(config).encode())
    plan.write(run.plan)
    return Planned(run, plan, is_new=True)


def _check_job(job: JobSpec) -> None:
    """Makes a Job as array tasks will; what its module prints goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        try:
            make_job(job)
        except SystemExit as error:
            raise InputError(
                f"job.class: {job.path}: its module calls sys.exit({error.code!r}) when imported"
            ) from None


def _check_output(config: Config) -> None:
    folder = config.output_path.parent
    if config.output.path is not None and not folder.is_dir():
        raise InputError(f"{config.path}: output.path: no such folder: {folder}")


def _check_folder(run: RunDir) -> None:
    """Raises InputError where the run directory exists and holds something else."""
    if run.path.exists() and not run.path.is_dir():
        raise InputError(f"{run.path}: is a file; the run directory is <runs>/<name>: choose another name")
    own = {path.name for path in (run.submissions, run.shards, run.logs, run.config, run.manifest)}
    names = sorted(path.name for path in run.path.iterdir()) if run.path.is_dir() else []
    strange = [name for name in names if name not in own and not name.endswith(".tmp")]
    if strange:
        raise InputError(f"{run.path}: exists and is no run directory (it holds {strange[0]!r}); choose another name")


def _build(config: Config, path: Path) -> ManifestInfo:
    return build_manifest(config.data.sources, path, config.data.id, config.data.cost, folder=config.folder)


def _new_plan(config: Config, job: JobSpec, manifest: ManifestInfo, path: Path) -> Plan:
    boundaries = _boundaries(config, manifest, path)
    return Plan(
        name=config.name,
        fingerprint=_fingerprint(config, job, manifest, boundaries),
        created=time.time(),
        rows=manifest.rows,
        id_column=manifest.id,
        boundaries=boundaries,
        job=job,
        batch_size=config.node.batch_size,
        seed=_SEED,
        config=config.to_mapping(),
        manifest=json.loads(json.dumps(asdict(manifest))),  # lists, as they are read back
        environment={"config": os.path.abspath(config.path), **describe_environment()},
        git=describe_git(config.folder),
    )


def _boundaries(config: Config, manifest: ManifestInfo, path: Path) -> tuple[int, ...]:
    """First rows of the shards and, last, the number of rows."""
    data, rows = config.data, manifest.rows
    if data.cost is not None:
        size = data.samples_per_shard
        count = data.shards or (default_shards(rows) if size is None else -(-rows // size))
        shards = split_by_cost(read_costs(path, data.cost), count)
    elif data.samples_per_shard is not None:
        shards = split_by_size(rows, data.samples_per_shard)
    else:
        shards = split_evenly(rows, data.shards or default_shards(rows))
    return (0, *(shard.stop for shard in shards))


def _fingerprint(config: Config, job: JobSpec, manifest: ManifestInfo, boundaries: Sequence[int]) -> str:
    """xxh3-128 of all that decides the bytes of the result."""
    deciding = {
        "format": FORMAT,
        "manifest": manifest.fingerprint,
        "id": manifest.id,
        "job": job.path,
        "params": job.params,
        "batch_size": config.node.batch_size,
        "seed": _SEED,
        "boundaries": boundaries,
    }
    return xxhash.xxh3_128_hexdigest(json.dumps(deciding, sort_keys=True).encode())


def _frozen_config(config: Config) -> str:
    """The config with all defaults and absolute paths, so that it means the same from inside the run directory."""
    import yaml

    data = config.to_mapping()
    data["runs"] = str(config.run_folder.parent)
    data["data"]["manifest"] = [str(config.resolve(source)) for source in config.data.sources]
    if config.output.path is not None:
        data["output"]["path"] = str(config.output_path)
    if config.template_path is not None:
        data["slurm"]["template"] = str(config.template_path)
    head = f"# Frozen at planning; planned from {config.path.absolute()}\n"
    return head + yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _check_existing(run: RunDir, config: Config, job: JobSpec) -> Plan:
    """The plan of the run, if this config gives the same result; raises InputError with each difference."""
    plan = Plan.read(run.plan)
    changes = deciding_differences(plan.config, config.to_mapping())
    if not changes and _sources_unchanged(plan, config):
        return plan
    with tempfile.TemporaryDirectory(dir=run.path) as folder:
        path = Path(folder) / run.manifest.name
        manifest = _build(config, path)
        fingerprint = _fingerprint(config, job, manifest, _boundaries(config, manifest, path))
    if fingerprint == plan.fingerprint:
        return plan
    if manifest.fingerprint != plan.manifest["fingerprint"]:
        changes.append(f"the samples in data.manifest changed: {plan.rows} rows then, {manifest.rows} now")
    refuse_changes(run, changes or ["planned by another version of the launcher"])
    return plan


def _sources_unchanged(plan: Plan, config: Config) -> bool:
    """Whether every source is a file with the size and time that it had; the files of a glob are listed anew."""
    if config_path(plan).parent != config.folder:
        return False
    return all(_is_same_file(source) for source in plan.manifest["sources"])


def _is_same_file(source: Mapping[str, Any]) -> bool:
    try:
        now = os.stat(source["path"])
    except OSError:
        return False
    return source["size"] is not None and (now.st_size, now.st_mtime) == (source["size"], source["mtime"])
