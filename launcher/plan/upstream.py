"""The upstream of a config: the run whose samples it has, as a manifest; and the runs that it comes after, without circles."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

from jobs.errors import InputError
from jobs.gather.manifest_check import check_manifest
from jobs.gather.redo import failed_batches
from jobs.kinds import ShardState
from jobs.nearest import did_you_mean, nearest
from jobs.storage.files import is_file
from jobs.storage.layouts import recall
from jobs.storage.plans import Plan
from jobs.storage.records import Part
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings
from jobs.storage.upstreams import Upstream, plan_seal, stored_seal
from launcher.config.config import Config
from launcher.config.data_section import RunManifest
from launcher.config.origins import Problem
from launcher.config.upstreams import upstream_path, upstream_paths
from launcher.manifest.manifest import ManifestInfo, build_manifest
from launcher.manifest.run_source import RunSource
from launcher.runs.find import reference
from launcher.runs.shard_states import ShardReader
from launcher.runs.submissions import read_submissions
from launcher.units import counted

_KEY = ("data", "manifest")


def upstream_problems(config: Config) -> list[Problem]:
    """Of the runs that a config names: which are not planned, and which wait for this one in their turn."""
    return _problems(config, lambda path: _absence(config, path) or _circle(config, path))


def circles(config: Config) -> list[Problem]:
    """Of these alone the latter; one that is gone by now status tells."""
    return _problems(config, lambda path: _circle(config, path))


def _problems(config: Config, problem_of: Callable[[Path], str | None]) -> list[Problem]:
    try:
        paths = upstream_paths(config)
    except InputError as error:
        return [(("after",), str(error))]
    keys = [("data", "manifest", "run") if config.data.of_run and at == 0 else ("after",) for at in range(len(paths))]
    return [(key, problem) for key, path in zip(keys, paths, strict=True) if (problem := problem_of(path))]


def _absence(config: Config, path: Path) -> str | None:
    if path == config.run_folder or is_file(RunDir(path).plan):
        return None
    return (
        f"there is no run {path}; plan it first, or submit all of them: launcher submit ITS-CONFIG {config.path.name}"
    )


def _circle(config: Config, path: Path) -> str | None:
    run = RunDir(path)
    if path == config.run_folder:
        return "is this run itself"
    if circle := _way(run, config.run_folder, set()):
        return f"the runs come after each other in a circle: {' after '.join([config.name, *circle])}"
    return None


def _way(run: RunDir, to: Path, seen: set[Path]) -> list[str]:
    """The names of the runs by which one comes after another; empty where it does not."""
    if run.path == to:
        return [run.name]
    seen.add(run.path)
    if not is_file(run.plan):
        return []
    before = [Path(path) for path in Plan.read(run.plan).after]
    ways = (_way(RunDir(path), to, seen) for path in before if path not in seen)
    way = next(filter(None, ways), None)
    return [run.name, *way] if way else []


def build_of_run(config: Config, path: Path) -> ManifestInfo:
    """Writes the samples of the run to ``path``, as a manifest.

    Raises InputError for what it does not have, DamageError where its own manifest is not what was planned.
    """
    wanted = config.data.of_run
    assert wanted
    upstream, failed = look_upstream(config, wanted)
    run = upstream.directory
    plan = Plan.read(run.plan)
    check_manifest(run, plan)  # what is damaged in it would be right here
    part = next(part for part in plan.results if part.name == wanted.manifest)
    left_out = Spans() if wanted.failed == "keep" else failed
    source = RunSource(plan.manifest_file(run), part, left_out, plan.id_column, wanted.columns, wanted.outputs)
    info = build_manifest(source, path, config.data.id or source.id_column, config.data.cost, folder=config.folder)
    return replace(info, upstream=replace(upstream, omitted=left_out.count))


def look_upstream(config: Config, wanted: RunManifest) -> tuple[Upstream, Spans]:
    """The run as it is now, and which of its rows are failed samples; these are known once it is complete."""
    run = RunDir(upstream_path(config, wanted.run))
    plan = Plan.read(run.plan)
    part = _part(config, plan, wanted.manifest)
    named = Upstream(str(run.path), wanted.manifest, wanted.outputs, wanted.failed == "keep", "")
    layout, is_done = recall(run), _is_done(run, plan, part)
    if is_done or (wanted.overlap and layout):
        _check_outputs(config, run, [output.name for output in layout.outputs] if layout else [])
    if wanted.overlap:
        return replace(named, seal=plan_seal(plan, part), overlaps=True), Spans()
    if not is_done:
        return named, Spans()
    seal = stored_seal(run, plan, part)  # before its rows: what is computed again from now on is seen by that
    rows = Spans([(part.start, part.stop)])
    failed = Spans.of_numbers(one.row for commit in failed_batches(run, plan, rows) for one in commit.failed)
    return replace(named, seal=seal), failed


def _is_done(run: RunDir, plan: Plan, part: Part) -> bool:
    shards = ShardReader(run, plan).read(read_submissions(run))
    return not plan.shards_of(part) - shards.in_state(ShardState.DONE)


def _part(config: Config, plan: Plan, name: str | None) -> Part:
    if name is None and not plan.parts:
        return plan.results[0]
    names = [str(part.name) for part in plan.parts]
    if name in names:
        return plan.part(str(name))
    if name is None:
        problem = f"run {plan.name} has several manifests, with a result each: add manifest: {' or '.join(names)}"
    else:
        has = f"has {', '.join(names)}" if names else "has only one, without a name: leave this out"
        problem = f"run {plan.name} has no manifest {name!r}{did_you_mean(nearest(name, names))}; it {has}"
    raise InputError(config.origins.report([((*_KEY, "manifest"), problem)]))


def _check_outputs(config: Config, run: RunDir, there: Collection[str]) -> None:
    wanted = config.data.of_run.outputs if config.data.of_run else ()
    lacking = [name for name in wanted if name not in there]
    if lacking:
        guess = did_you_mean(nearest(lacking[0], there))
        problem = (
            f"run {reference(run)} has no output {lacking[0]!r}{guess}; it has {', '.join(sorted(there)) or 'none'}"
        )
        raise InputError(config.origins.report([((*_KEY, "outputs"), problem)]))


def with_upstream(plan: Plan, upstream: Upstream) -> Plan:
    return replace(plan, manifest={**plan.manifest, "upstream": upstream.to_json()})


def upstream_change(known: Upstream | None, now: Upstream | None) -> str | None:
    """How the run differs whose samples these are, although they are the same ones."""
    if known is None or now is None or known.deciding() == now.deciding():
        return None
    if known.seal == now.seal or known.overlaps != now.overlaps:
        return f"what is taken of run {now.name}"
    if not known.seal:
        return f"run {now.name} is complete now"
    return f"run {now.name} was computed again" if now.seal else f"run {now.name} is not complete any more"


def told(plan: Plan) -> Iterator[str]:
    """What a person has to know of the samples that a plan has of another run."""
    upstream = Upstream.of(plan)
    if upstream is None:
        return
    run = reference(upstream.directory)
    if upstream.omitted:
        which = counted(upstream.omitted, "sample")
        yield f"left out: {which} that failed in {upstream.name}, see `launcher errors {run}`"
    before = Plan.read(upstream.directory.plan)
    if upstream.keeps_failed and _share_to_fail(plan) < _share_to_fail(before):
        here, there = _may_fail(plan), _may_fail(before)
        yield f"samples that fail in {run} fail here too: node.max_failed_samples is {here} here, and {there} there"


def _may_fail(plan: Plan) -> float | int:
    found: float | int = plan.config.get("node", {}).get("max_failed_samples", NodeSettings.max_failed_samples)
    return found


def _share_to_fail(plan: Plan) -> float:
    """Of all samples of a run that has shards of one size, how many may fail."""
    limit = _may_fail(plan)
    return limit * plan.shard_count / plan.rows if isinstance(limit, int) else limit
