"""A new plan: what a config and its samples give, and the fingerprint of all that decides the bytes of the result."""

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import xxhash

from jobs.job import job_class, takes_samples
from jobs.storage.plans import FORMAT, Plan
from jobs.storage.records import JobSpec
from jobs.storage.upstreams import Upstream
from launcher.config.config import Config
from launcher.config.upstreams import upstream_path, upstream_paths
from launcher.config.variables import escaped
from launcher.manifest.manifest import ManifestInfo, build_manifest, read_costs
from launcher.patience import telling
from launcher.plan.code_files import find_code
from launcher.plan.param_files import describe_files
from launcher.plan.provenance import describe_environment, describe_git
from launcher.plan.sharding import split_parts

SEED = 0
"""Batches and samples are seeded from it and their (first) row: the same plan always draws the same numbers."""
# The same for plans of all formats, so that a run of an older version is known as planned from the same config.
_FINGERPRINT = 1


def code_and_files(job: JobSpec) -> dict[str, Any]:
    """Fields of a plan that tell the Job's files and code apart from later ones."""
    return {"files": describe_files(job_class(job), job), "code": find_code(job)}


def build(config: Config, path: Path) -> ManifestInfo:
    """Writes the config's samples to ``path``, as a manifest."""
    if config.data.of_run:
        from launcher.plan.upstream import build_of_run

        return build_of_run(config, path)
    sources = config.data.manifests or config.data.sources
    with telling("reading data.manifest"):
        return build_manifest(sources, path, config.data.id, config.data.cost, folder=config.folder)


def new_plan(config: Config, job: JobSpec, manifest: ManifestInfo, path: Path) -> Plan:
    """The plan of a config with this manifest, which is at ``path``."""
    read = {
        key: value for key, value in asdict(manifest).items() if key not in ("parts", "upstream") and value is not None
    }
    if manifest.upstream:
        read["upstream"] = manifest.upstream.to_json()
    plan = Plan(
        name=config.name,
        fingerprint="",
        created=time.time(),
        rows=manifest.rows,
        id_column=manifest.id,
        boundaries=shard_boundaries(config, manifest, path),
        job=job,
        batch_size=batch_size_of(config, job),
        seed=SEED,
        config=config.to_mapping(),
        manifest=json.loads(json.dumps(read)),  # lists, as they are read back
        environment={"config": os.path.abspath(config.path), **describe_environment()},
        git=describe_git(config.folder),
        format=FORMAT,
        parts=manifest.parts,
        after=tuple(map(str, upstream_paths(config))),
        **code_and_files(job),
    )
    return replace(plan, fingerprint=fingerprint_of(plan))


def batch_size_of(config: Config, job: JobSpec) -> int:
    """Rows of a batch: one where the Job takes samples one by one, so that each row is stored when it is done."""
    return 1 if takes_samples(job_class(job)) else config.node.batch_size


def shard_boundaries(config: Config, manifest: ManifestInfo, path: Path) -> tuple[int, ...]:
    """First rows of the shards and, last, the number of rows."""
    data = config.data
    rows = [part.rows for part in manifest.parts] or [manifest.rows]
    costs = None if data.cost is None else read_costs(path, data.cost)
    return split_parts(rows, data.shards, data.samples_per_shard, costs)


def fingerprint_of(plan: Plan) -> str:
    """xxh3-128 of all that decides the bytes of the result, but for the Job's code and files, which are compared themselves."""
    deciding = {
        "format": _FINGERPRINT,
        "manifest": plan.manifest["fingerprint"],
        "id": plan.id_column,
        "job": plan.job.path,
        "params": plan.job.params,
        "batch_size": plan.batch_size,
        "seed": plan.seed,
        "boundaries": plan.boundaries,
        **({"parts": [asdict(part) for part in plan.parts]} if plan.parts else {}),
        **({"upstream": upstream.deciding()} if (upstream := Upstream.of(plan)) else {}),
    }
    return xxhash.xxh3_128_hexdigest(json.dumps(deciding, sort_keys=True).encode())


def frozen_config(config: Config) -> str:
    """The config with all defaults and the folder that its paths start in, so that it means the same wherever it lies."""
    from launcher.config.core_schema import written

    data = config.to_mapping()
    data["runs"], data["folder"] = escaped(config.run_folder.parent), escaped(config.folder)
    data["job"]["import_from"] = [escaped(config.resolve(folder)) for folder in config.job.import_from]
    if of_run := config.data.of_run:
        data["data"]["manifest"]["run"] = escaped(upstream_path(config, of_run.run))
    else:
        # As they are written: a pattern gives its files their ids.
        named = config.data.manifests or {"": config.data.sources}
        kept = {name: list(map(escaped, sources)) for name, sources in named.items()}
        data["data"]["manifest"] = kept.get("", kept)
    data["after"] = [escaped(upstream_path(config, text)) for text in config.after]
    place = config.output_path or config.result_form.store
    data["output"]["path"] = escaped(place) if place else None
    if config.template_path is not None:
        data["slurm"]["template"] = escaped(config.template_path)
    head = f"# Frozen at planning; planned from {config.path.absolute()}\n"
    head += "".join(f"# {key}: by {place}\n" for key, place in config.profiles.items())
    return head + written(data)
