"""Changes: what of a run's config, samples, code and files is another than when it was planned, a line each."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jobs.errors import DamageError, RunError
from jobs.gather.manifest_check import check_manifest
from jobs.storage.files import is_file, rename_synced
from jobs.storage.plans import Plan
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir
from jobs.storage.upstreams import Upstream
from launcher.config.config import Config
from launcher.config.upstreams import upstream_path
from launcher.manifest.manifest import ManifestInfo
from launcher.plan.code_files import code_changes
from launcher.plan.comparison import compare
from launcher.plan.guard import config_folder, deciding_differences
from launcher.plan.new_plan import batch_size_of, build, fingerprint_of, shard_boundaries
from launcher.plan.param_files import changed_files
from launcher.plan.upstream import upstream_change

BATCHES = "node.batch_size"
"""What lines about batches begin with."""


def compared(run: RunDir, known: Plan, config: Config, job: JobSpec) -> tuple[Plan, list[str]]:
    """The plan of the run, and what has changed since it was made that decides the result, a line each."""
    listed, replaced, is_intact = differences(known, config), job_changes(known, job), _has_manifest(run, known)
    if known.grown:
        if not is_intact:
            check_manifest(run, known)  # raises: it was put together at several times, and nobody can write it anew
        return known, [*_differences_of_grown(run, known, config, listed), *replaced]
    if not listed and is_intact and _sources_unchanged(known, config):
        return known, replaced
    # Beside the run's own manifest, which array tasks may be reading; there is room for another one there.
    with tempfile.TemporaryDirectory(suffix=".tmp", dir=run.path, ignore_cleanup_errors=True) as folder:
        path = Path(folder) / run.manifest.name
        manifest = build(config, path)
        upstream = {"upstream": manifest.upstream.to_json()} if manifest.upstream else {}
        now = replace(
            known,
            manifest={"fingerprint": manifest.fingerprint, **upstream},
            id_column=manifest.id,
            boundaries=shard_boundaries(config, manifest, path),
            parts=manifest.parts,
            job=job,
            batch_size=batch_size_of(config, job),
        )
        if fingerprint_of(now) == fingerprint_of(known):
            return known if is_intact else _mended(run, known, manifest, path), replaced
    listed = _with_samples(run, known, config, manifest, listed) or other_batches(known, config, job)
    return known, [*(listed or ["planned by another version of the launcher"]), *replaced]


def _with_samples(run: RunDir, known: Plan, config: Config, manifest: ManifestInfo, listed: list[str]) -> list[str]:
    """The differences that are ``listed``, and that of the samples."""
    is_same = manifest.fingerprint == known.manifest["fingerprint"] and manifest.parts == known.parts
    was_given = any(source.startswith(str(run.given)) for source in config.data.sources)
    if (is_same and not manifest.upstream) or was_given:
        # Where the samples come from is nothing to what they are, and what a script gave is a file that its user never saw.
        listed = [line for line in listed if not line.startswith("data.manifest: ")]
    if manifest.fingerprint != known.manifest["fingerprint"]:
        return [*listed, f"the samples in data.manifest changed: {known.rows} rows then, {manifest.rows} now"]
    if not listed and (change := upstream_change(Upstream.of(known), manifest.upstream)):
        return [change]
    return listed


def other_batches(known: Plan, config: Config, job: JobSpec) -> list[str]:
    """A line where it is the Job that has made batches others: it takes samples one by one now, or does not any more."""
    size = batch_size_of(config, job)
    if size == known.batch_size:
        return []
    return [f"{BATCHES}: batches are of {size} now, and were of {known.batch_size} (see process_sample in the Job)"]


def _differences_of_grown(run: RunDir, known: Plan, config: Config, listed: Sequence[str]) -> list[str]:
    """As samples were added, and none was taken out, the config's manifest is what it was if the run has all that is in it."""
    others = [line for line in listed if not line.startswith("data.manifest")]
    if others or (not listed and _sources_unchanged(known, config)):
        return others
    with tempfile.TemporaryDirectory(suffix=".tmp", dir=run.path, ignore_cleanup_errors=True) as folder:
        sources = config.data.manifests or config.data.sources
        found = compare(run, known, config, sources, Path(folder) / run.manifest.name)
    return [f"the samples in data.manifest changed: {found.difference}"] if found.difference else []


def differences(known: Plan, config: Config) -> list[str]:
    """Of the config alone, in what decides the result."""
    return deciding_differences(known.config, config.to_mapping())


def job_changes(known: Plan, job: JobSpec) -> list[str]:
    """Of the Job's files and code."""
    return [*changed_files(known, job), *code_changes(known, job)]


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
    if (of_run := config.data.of_run) and (upstream := Upstream.of(plan)):
        now = replace(upstream, run=str(upstream_path(config, of_run.run)))
        return bool(upstream.seal) and is_file(now.directory.plan) and not now.is_another
    if config_folder(plan) != config.folder:
        return False
    return all(_state(source["path"]) == (source["size"], source["mtime"]) for source in plan.manifest["sources"])


def changed_sources(plan: Plan) -> list[str]:
    """Files of the manifest whose size or time is another than when their samples were read; one that is gone is none."""
    if Upstream.of(plan):
        return []
    files = [source for source in plan.manifest["sources"] if source["size"] is not None]
    return [one["path"] for one in files if _state(one["path"]) not in (None, (one["size"], one["mtime"]))]


def _state(path: str) -> tuple[int, float] | None:
    """Size and time of a file; None where there is none."""
    try:
        now = os.stat(path)
    except OSError:
        return None
    return now.st_size, now.st_mtime
