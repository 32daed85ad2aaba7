"""extend: new samples for a run, beside what it has."""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import InputError
from jobs.references.stores import is_url, local_path
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.commands.chosen_run import chosen_run, is_config
from launcher.commands.printer import Printer
from launcher.config.config import Config, load_config
from launcher.runs.find import reference
from launcher.units import counted, rows_between

if TYPE_CHECKING:
    from launcher.plan.extend import Extended


def extend(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.plan.extend import extend as add

    run = chosen_run(options.run)
    known = Plan.read(run.plan)
    config = _config(options.run, run, known)
    given = _sources(options.manifests, config.folder, named=bool(known.parts)) if options.manifests else None
    done = add(run, config, given, again=options.changed)
    is_again = options.changed and bool(done.changed)
    printer.say(*_told(run, known, done, is_again=is_again, is_whole=given is None))
    printer.document(
        run=str(run.path),
        new=done.new,
        changed=done.changed,
        gone=done.gone if given is None else None,
        computed_again=is_again,
        samples=done.plan.rows,
        shards=done.plan.shard_count,
    )
    return True


def _outdated(run: RunDir) -> Iterator[str]:
    """The runs that are made of what it had."""
    from launcher.status.reader import StatusReader
    from launcher.submit.downstream import readers_of

    names = [reference(one) for one in readers_of(run) if StatusReader(one).read().chain.outdated]
    if names:
        yield f"made of what it had, and outdated now: {', '.join(names)}; what to do there: launcher status {names[0]}"


def _told(run: RunDir, known: Plan, done: "Extended", *, is_again: bool, is_whole: bool) -> Iterator[str]:
    """What was found, and what to do next; ``is_whole``: it was looked for in all of the run's own manifest."""
    if not done.new and not is_again:
        yield f"{run.path}: nothing new; the run has all {known.rows:,} samples"
    if done.new:
        rows = rows_between(known.rows, done.plan.rows)
        yield f"new: {counted(done.new, 'sample')} ({rows}) in {counted(done.shards, 'shard')}"
    if done.changed:
        what = "computed again" if is_again else "they stay as they were; to compute them again: --changed"
        yield f"changed: {counted(done.changed, 'sample')}; {what}"
    if done.gone and is_whole:
        yield f"gone from the manifest: {counted(done.gone, 'sample')}; what the run has of them stays"
    if done.new or is_again:
        yield from _outdated(run)
        yield f"next: launcher rerun {reference(run)}"


def _config(text: str, run: RunDir, known: Plan) -> Config:
    """The settings of the run; a config that is given may say otherwise where the samples are, and nothing else."""
    from launcher.plan.guard import deciding_differences
    from launcher.submit.settings import current_config

    if not is_config(text):
        return current_config(run, known)
    config = load_config(Path(text))
    changes = deciding_differences(known.config, config.to_mapping())
    if others := [line for line in changes if not line.startswith("data.manifest")]:
        listed = "\n".join(f"  {line}" for line in others)
        raise InputError(
            f"{text}: a run grows by samples alone, and here more differs from what {run.path} was planned with:\n{listed}\n"
            f"Put that back, or name the run instead: launcher extend {reference(run)}"
        )
    return config


def _sources(texts: Sequence[str], folder: Path, *, named: bool) -> list[str] | dict[str, list[str]]:
    """MANIFEST arguments as sources: of one manifest, or by the names that stand before them."""
    if not named and not any(_is_named(text) for text in texts):
        return [_from_folder(text, folder) for text in texts]
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if not equals or not name or not source or is_url(name):
            raise InputError(f"{text}: this run has several manifests; say whose samples these are: NAME={text}")
        found.setdefault(name, []).append(_from_folder(source, folder))
    return found


def _is_named(text: str) -> bool:
    """Whether a name stands before a manifest; folders of Hive, ``date=2026-01-01``, are in paths and URLs."""
    return "=" in text and not Path(text).exists() and not is_url(text.partition("=")[0])


def _from_folder(text: str, folder: Path) -> str:
    """A path that was typed here, as the config would have it: ids of files begin at its folder."""
    if is_url(text):
        return text
    path = os.path.abspath(os.path.expanduser(local_path(text)))
    return os.path.relpath(path, folder) if Path(path).is_relative_to(folder) else path
