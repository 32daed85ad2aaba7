"""OldShards: the journals and HDF5 files that older versions kept for each shard of a run, seen as attempts.

Each submission that has worked at a shard becomes one attempt, NNNN-import: its journal says where in the files below
shards/ the batches lie.
"""

import os
from collections import Counter
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from jobs.storage.old_attempt import OldSubmission
from jobs.storage.old_journal import OldCommit, layout_of, replay
from jobs.storage.plans import Plan
from jobs.storage.records import Block, Commit, Layout
from jobs.storage.rundir import RunDir
from jobs.storage.shard_table import Shard, ShardTable


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


def write_attempts(run: RunDir, plan: Plan, folder: Path, shards: str, *, check: bool) -> Layout | None:
    """Writes the journals into ``folder``; in them the old files are named with ``shards`` before them."""
    layout, submissions = _read(run, plan, check=check)
    for submission in submissions:
        submission.write(folder / f"{submission.number:04d}-import.journal", layout, shards)
    return layout
