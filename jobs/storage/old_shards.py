"""OldShards: runs of versions that kept a journal and an HDF5 file for each shard, seen as attempts.

Each submission that has worked at a shard becomes one attempt, NNNN-import: its journal says where in the files below
shards/ the batches lie. Readers have these journals in a temporary folder, and leave the run as it is. The first new
submission writes them into the run, for good, and sets the plan's format, so that older versions leave it alone.
"""

import atexit
import dataclasses
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Container, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jobs.storage import checked_json
from jobs.storage.files import write_once
from jobs.storage.old_attempt import OldSubmission
from jobs.storage.old_journal import OldCommit, layout_of, replay
from jobs.storage.plans import FORMAT, OLD_FORMATS, Plan
from jobs.storage.records import Block, Commit, Layout, Shard
from jobs.storage.rundir import RunDir
from jobs.storage.shard_table import ShardTable


class OldShard:
    """A shard's journal and the files beside it: 000003.h5 (000003.part.h5 until it is done), 000003.OUTPUT.values.

    The rows of each output, or the lengths of a ragged one's, have fixed places in the first; values are where a commit
    says, in the others.
    """

    def __init__(self, folder: Path, names: Container[str], shard: Shard) -> None:
        """``names`` are those of the files in the folder."""
        stem = f"{shard.index:06d}"
        self.shard = shard
        self.history = replay(folder / f"{stem}.journal")
        self._folder = folder
        self._stem = stem
        self._rows = next((name for name in (f"{stem}.h5", f"{stem}.part.h5") if name in names), None)

    def commits(self, layout: Layout, table: ShardTable) -> Iterator[tuple[int, OldCommit]]:
        """What is stored, in the order of rows, each with the position of its attempt."""
        for _, (attempt, commit) in sorted(self.history.commits.items()):
            if self._is_batch(commit, table) and self._accounts_for(commit, layout):
                yield attempt, commit

    def _is_batch(self, commit: OldCommit, table: ShardTable) -> bool:
        is_inside = self.shard.start <= commit.start < self.shard.stop
        return is_inside and table.batch_at(commit.start) == (commit.start, commit.stop)

    def _accounts_for(self, commit: OldCommit, layout: Layout) -> bool:
        if not all(commit.start <= sample.row < commit.stop for sample in commit.failed):
            return False
        if not commit.hashes:
            return len(commit.failed) == commit.stop - commit.start
        # Shards with other outputs were an error of gather. Now their rows are done again, and whoever does says so.
        if self._rows is None or self.history.layout is None:
            return False
        ragged = {output.name for output in layout.outputs if output.ragged}
        is_whole = commit.hashes.keys() == self.history.offsets.keys() and commit.segments.keys() == ragged
        return is_whole and set(self.history.layout.outputs) == set(layout.outputs)

    def blocks(self, commit: OldCommit, layout: Layout, number: Callable[[str], int]) -> Iterator[Block]:
        """Where the bytes of a commit are; ``number`` is that of a file, by its name."""
        for output in layout.outputs if commit.hashes else ():
            place = self.history.offsets[output.name] + (commit.start - self.shard.start) * output.row_bytes
            size = (commit.stop - commit.start) * output.row_bytes
            yield Block(number(self._rows or ""), place, size, commit.hashes[output.name])
            if output.ragged:
                yield Block(number(f"{self._stem}.{output.name}.values"), *commit.segments[output.name])

    def is_synced(self, attempt: int) -> bool:
        """Whether all that an attempt stored is on disk: it was synced before an attempt's end was written."""
        return any(later.end for later in self.history.attempts[attempt:])

    def is_intact(self, commit: OldCommit, layout: Layout) -> bool:
        """Whether the bytes are those that were written."""
        from jobs.storage.blocks import BlockReader  # which loads numpy: the command line does without, as a rule

        numbers: dict[str, int] = {}
        blocks = tuple(self.blocks(commit, layout, lambda name: numbers.setdefault(name, len(numbers))))
        with BlockReader({number: self._folder / name for name, number in numbers.items()}) as reader:
            return not reader.damaged(blocks)


def _read(run: RunDir, plan: Plan, *, check: bool) -> tuple[Layout | None, list[OldSubmission]]:
    """The run's outputs and its submissions. ``check``: what a crash of a node may have lost is looked at first."""
    names = frozenset(os.listdir(run.old_shards)) if run.old_shards.is_dir() else frozenset()
    shards = [shard for shard in plan.shards() if f"{shard.index:06d}.journal" in names]
    layouts = Counter(layout_of(run.old_shards / f"{shard.index:06d}.journal") for shard in shards)
    layout = next((layout for layout, _ in layouts.most_common() if layout), None)
    found: dict[int, OldSubmission] = {}
    for shard in shards:
        _add(found, OldShard(run.old_shards, names, shard), layout or Layout(()), plan.table, check)
    return layout, [found[number] for number in sorted(found)]


def _add(found: dict[int, OldSubmission], old: OldShard, layout: Layout, table: ShardTable, check: bool) -> None:
    """Gives each submission what it has of a shard."""
    attempts, commits = old.history.attempts, dict[int, list[Commit]]()
    for attempt in attempts:
        number = attempt.start.submission
        if number not in found:
            found[number] = OldSubmission(number)
        found[number].worked_at(old.shard, attempt)
    for at, commit in old.commits(layout, table):
        if check and not old.is_synced(at) and not old.is_intact(commit, layout):
            continue
        number = attempts[at].start.submission
        blocks = tuple(old.blocks(commit, layout, found[number].file_number))
        new = Commit(commit.start, commit.stop, blocks, commit.failed, commit.split, commit.seconds)
        commits.setdefault(number, []).append(new)
    for number, stored in commits.items():
        found[number].store(old.shard, stored)


def _write(run: RunDir, plan: Plan, folder: Path, shards: str, *, check: bool) -> Layout | None:
    """Writes the journals into ``folder``; in them the old files are named with ``shards`` before them."""
    layout, submissions = _read(run, plan, check=check)
    for submission in submissions:
        submission.write(folder / f"{submission.number:04d}-import.journal", layout, shards)
    return layout


def import_run(run: RunDir) -> None:
    """Makes an old run one of this version; does nothing where it is one.

    What array tasks of the old version commit from now on is not seen: its rows are done again. Of several launchers that
    do this at once each writes the same, whole files; the plan's format, which is the last of them, says that all are there.
    """
    plan = Plan.read(run.plan)
    if plan.format not in OLD_FORMATS:
        return
    run.make()
    layout = _write(run, plan, run.attempts, os.path.relpath(run.old_shards, run.attempts), check=True)
    if layout:
        write_once(run.layout, checked_json.encode(layout.to_json()))
    dataclasses.replace(plan, format=FORMAT).write(run.plan)


class OldView:
    """An old run for readers: journals of its attempts in a temporary folder, made anew when a shard's journal has grown."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._seen: tuple[Any, ...] = ()
        self._folder: Path | None = None
        self._is_imported = False

    def folder(self) -> Path | None:
        """Another one each time that it was made anew; None where the run has been imported."""
        if not self._is_imported and (seen := _state(self._run)) != self._seen:
            self._seen = seen
            self._remake()
        return self._folder

    def _remake(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder)
            self._folder = None
        plan = Plan.read(self._run.plan)
        self._is_imported = plan.format not in OLD_FORMATS
        if not self._is_imported:
            self._folder = Path(tempfile.mkdtemp(dir=_temporary_folder()))
            _write(self._run, plan, self._folder, str(self._run.old_shards.absolute()), check=False)


def _state(run: RunDir) -> tuple[Any, ...]:
    """Something else when the plan or an old journal has changed, or a shard's file has got its last name."""
    plan = run.plan.stat()
    with os.scandir(run.old_shards) as entries:
        sizes = {e.name: e.stat().st_size if e.name.endswith(".journal") else 0 for e in entries}
    return plan.st_ino, plan.st_mtime_ns, sizes


@cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="launcher-old-run-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def old_view(run: RunDir) -> OldView | None:
    """One a process and run; None where the run has no old files."""
    return OldView(run) if run.old_shards.is_dir() else None


def old_log_paths(run: RunDir, shard: int) -> list[Path]:
    """The logs that may hold text of a shard: an old array task wrote into that of the first shard which it had."""
    firsts: dict[Path, None] = {}
    for number in run.submission_numbers():
        groups = json.loads(run.submission(number).read_text()).get("groups", ())
        firsts |= {run.logs / f"{group[0]:06d}.log": None for group in groups if shard in group}
    return [path for path in firsts if path.exists()]
