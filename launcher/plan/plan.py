"""Planning: Config -> run directory. Checks everything that can be checked before a node is asked for.

plan.json makes a folder a run, and is written once: of several that plan a run at a time, one has its way. What else there
is follows from it, so planning again writes anew what is missing. A run that is planned already is only compared: its
fingerprint covers all that decides the bytes of the result.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import xxhash

from jobs.errors import DamageError, InputError, RunError
from jobs.gather.manifest_check import check_manifest
from jobs.job import job_class, make_job
from jobs.storage.files import rename_synced, temporary_name, write_bytes, write_once
from jobs.storage.plans import FORMAT, Plan
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir
from launcher.catalogue.param_types import check_params
from launcher.config.config import Config
from launcher.config.origins import Problem
from launcher.manifest.manifest import ManifestInfo, build_manifest, read_costs
from launcher.plan.guard import config_path, deciding_differences, refuse_changes
from launcher.plan.param_files import changed_files, describe_files
from launcher.plan.provenance import describe_environment, describe_git
from launcher.plan.runs_folder import check_runs_folder, name_problems
from launcher.plan.sharding import split_parts

# Batches are seeded from it and their first row: the same plan always draws the same numbers.
_SEED = 0
# The same for plans of all formats, so that a run of an older version is known as planned from the same config.
_FINGERPRINT = 1


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
    if problems := [*_job_problems(job), *name_problems(config), *_output_problems(config)]:
        raise InputError(config.origins.report(problems))
    plan = None if _is_planned(run) else _plan_anew(run, config, job)
    if plan:
        return Planned(run, plan, is_new=True)
    return Planned(run, _check_existing(run, config, job), is_new=False)


def _is_planned(run: RunDir) -> bool:
    """An empty plan is of one who was killed where there are no hard links, or who is about to write it."""
    try:
        return run.plan.stat().st_size > 0
    except FileNotFoundError:
        return False


def _plan_anew(run: RunDir, config: Config, job: JobSpec) -> Plan | None:
    """None where another one has planned the run meanwhile."""
    try:
        _check_folder(run)
    except InputError:
        if _is_planned(run):  # since we looked, and submitted too
            return None
        raise
    run.make()
    check_runs_folder(run.path)
    temporary = temporary_name(run.manifest)
    try:
        manifest = _build(config, temporary)
        plan = _new_plan(config, job, manifest, temporary)
        data = plan.encode()
        # It decides whose run this is. Only then the rest gets its names: two manifests must not change places under it.
        if write_once(run.plan, data) != data:
            return None
        rename_synced(temporary, run.manifest)
        write_bytes(run.config, _frozen_config(config).encode())
        return plan
    finally:
        temporary.unlink(missing_ok=True)


def _job_problems(job: JobSpec) -> list[Problem]:
    """Makes a Job as array tasks will, if its params are of the right types; what its module prints goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        try:
            problems = check_params(job_class(job), job.path, job.params)
            if not problems:
                make_job(job)
        except InputError as error:
            return [_placed(str(error), job)]
    return problems


def _placed(message: str, job: JobSpec) -> Problem:
    """A message of the Job's own with the key that it is about: it begins with job.class, or with a parameter."""
    if message.startswith("job.class: "):
        return ("job", "class"), message.removeprefix("job.class: ")
    text = message.removeprefix("job.params: ")
    subject, _, rest = text.partition(": ")
    return (("job", "params", subject), rest) if subject in job.params else (("job", "params"), text)


def _output_problems(config: Config) -> list[Problem]:
    path, run = config.output_path, RunDir(config.run_folder)
    if path is None:
        return []
    names: list[str | None] = [*config.data.manifests] or [None]
    folders = {run.result_of(name, path).parent for name in names}
    missing = sorted(folder for folder in folders if not folder.is_dir())
    folders = {found for name in names if (found := run.result_of(name, path)).is_dir()}
    return [
        *((("output", "path"), f"no such folder: {folder}") for folder in missing),
        *((("output", "path"), f"is a folder: {folder}; give the path of a file in it") for folder in sorted(folders)),
    ]


def _check_folder(run: RunDir) -> None:
    """Raises InputError where the run directory exists and holds something else."""
    if run.path.exists() and not run.path.is_dir():
        raise InputError(f"{run.path}: is a file; the run directory is <runs>/<name>: choose another name")
    files = (run.config, run.manifest, run.plan)
    own = {path.name for path in (run.submissions, run.attempts, run.old_shards, run.logs, *files)}
    names = sorted(path.name for path in run.path.iterdir()) if run.path.is_dir() else []
    strange = [name for name in names if name not in own and not name.endswith(".tmp")]
    # Planning leaves these empty, also where it was killed.
    if any(folder.is_dir() and any(folder.iterdir()) for folder in (run.submissions, run.attempts, run.old_shards)):
        raise InputError(
            f"{run.path}: holds what a run has computed, but its {run.plan.name} is gone, which says of what: "
            f"bring back a copy of it, or choose another name; to compute all again, first rm -r {run.path}"
        )
    if strange:
        raise InputError(f"{run.path}: exists and is no run directory (it holds {strange[0]!r}); choose another name")


def _build(config: Config, path: Path) -> ManifestInfo:
    sources = config.data.manifests or config.data.sources
    return build_manifest(sources, path, config.data.id, config.data.cost, folder=config.folder)


def _new_plan(config: Config, job: JobSpec, manifest: ManifestInfo, path: Path) -> Plan:
    boundaries = _boundaries(config, manifest, path)
    read = {key: value for key, value in asdict(manifest).items() if key != "parts"}
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
        manifest=json.loads(json.dumps(read)),  # lists, as they are read back
        environment={"config": os.path.abspath(config.path), **describe_environment()},
        git=describe_git(config.folder),
        format=FORMAT,
        parts=manifest.parts,
        files=describe_files(job_class(job), job),
    )


def _boundaries(config: Config, manifest: ManifestInfo, path: Path) -> tuple[int, ...]:
    """First rows of the shards and, last, the number of rows."""
    data = config.data
    rows = [part.rows for part in manifest.parts] or [manifest.rows]
    costs = None if data.cost is None else read_costs(path, data.cost)
    return split_parts(rows, data.shards, data.samples_per_shard, costs)


def _fingerprint(config: Config, job: JobSpec, manifest: ManifestInfo, boundaries: Sequence[int]) -> str:
    """xxh3-128 of all that decides the bytes of the result."""
    deciding = {
        "format": _FINGERPRINT,
        "manifest": manifest.fingerprint,
        "id": manifest.id,
        "job": job.path,
        "params": job.params,
        "batch_size": config.node.batch_size,
        "seed": _SEED,
        "boundaries": boundaries,
        **({"parts": [asdict(part) for part in manifest.parts]} if manifest.parts else {}),
    }
    return xxhash.xxh3_128_hexdigest(json.dumps(deciding, sort_keys=True).encode())


def _frozen_config(config: Config) -> str:
    """The config with all defaults and absolute paths, so that it means the same from inside the run directory."""
    import yaml

    data = config.to_mapping()
    data["runs"] = str(config.run_folder.parent)
    named = config.data.manifests or {"": config.data.sources}
    absolute = {name: [str(config.resolve(source)) for source in sources] for name, sources in named.items()}
    data["data"]["manifest"] = absolute.get("", absolute)
    data["output"]["path"] = str(config.output_path) if config.output_path else None
    if config.template_path is not None:
        data["slurm"]["template"] = str(config.template_path)
    head = f"# Frozen at planning; planned from {config.path.absolute()}\n"
    return head + yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _check_existing(run: RunDir, config: Config, job: JobSpec) -> Plan:
    """The plan of the run, if this config gives the same result; raises InputError with each difference."""
    plan = Plan.read(run.plan)
    changes, replaced = deciding_differences(plan.config, config.to_mapping()), changed_files(plan)
    is_intact = _has_manifest(run, plan)
    if not changes and not replaced and is_intact and _sources_unchanged(plan, config):
        return plan
    # Beside the run's own manifest, which array tasks may be reading; there is room for another one there.
    with tempfile.TemporaryDirectory(suffix=".tmp", dir=run.path, ignore_cleanup_errors=True) as folder:
        path = Path(folder) / run.manifest.name
        manifest = _build(config, path)
        fingerprint = _fingerprint(config, job, manifest, _boundaries(config, manifest, path))
        if fingerprint == plan.fingerprint and not replaced:
            return plan if is_intact else _mended(run, plan, manifest, path)
    changes += replaced
    if manifest.fingerprint != plan.manifest["fingerprint"]:
        changes.append(f"the samples in data.manifest changed: {plan.rows} rows then, {manifest.rows} now")
    refuse_changes(run, changes or ["planned by another version of the launcher"])
    return plan


def _has_manifest(run: RunDir, plan: Plan) -> bool:
    """Whether it is there, and as it was planned."""
    try:
        check_manifest(run, plan)
    except (DamageError, RunError):
        return False
    return True


def _mended(run: RunDir, plan: Plan, manifest: ManifestInfo, written: Path) -> Plan:
    """The plan with the manifest ``written`` anew: the same samples, if in other bytes by another version of pyarrow."""
    rename_synced(written, run.manifest)
    if manifest.digests != plan.manifest_digests:
        plan = replace(plan, manifest={**plan.manifest, "digests": list(manifest.digests)})
        plan.write(run.plan)
    return plan


def _sources_unchanged(plan: Plan, config: Config) -> bool:
    """Whether every source is a file with the size and time that it had; the files of a glob are listed anew."""
    if config_path(plan).parent != config.folder:
        return False
    for source in plan.manifest["sources"]:
        try:
            now = os.stat(source["path"])
        except OSError:
            return False
        if (now.st_size, now.st_mtime) != (source["size"], source["mtime"]):
            return False
    return True
