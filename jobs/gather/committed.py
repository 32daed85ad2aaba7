"""Committed: what the journals say of a run's rows, shard by shard in manifest order. Read by gather and verify.

A commit counts if it lies within its shard, overlaps no other and accounts for each output; the rest are missing rows.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Self

from jobs.storage.journal import History, replay
from jobs.storage.plans import Plan
from jobs.storage.records import Commit, Layout, Part, Shard
from jobs.storage.rundir import RunDir
from jobs.storage.shard_file import ShardFile

# Commits that stay in memory between two passes over the journals (about 0.6 KB each); more are replayed again.
KEPT_COMMITS = 20_000


@dataclass(frozen=True, slots=True)
class Damage:
    """Rows ``[start, stop)`` of a shard of which something is not as committed: names of outputs, or "journal"."""

    shard: int
    start: int
    stop: int
    what: tuple[str, ...]

    def __str__(self) -> str:
        return f"shard {self.shard}, rows {self.start}-{self.stop - 1}: {', '.join(self.what)}"


@dataclass(frozen=True, slots=True)
class CopyRange:
    """Rows ``[start, stop)`` to be copied at once; without commits, rows that hold fill values."""

    start: int
    stop: int
    commits: tuple[Commit, ...] = ()


@dataclass(frozen=True)
class ShardRows:
    """The commits of one shard that count, by row. ``versions`` are those of the software that its attempts had."""

    shard: Shard
    done: bool
    layout: Layout
    commits: tuple[Commit, ...]
    bad_lines: int = 0
    versions: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, shard: Shard, done: bool, history: History, first: int = 0) -> Self:
        """``first`` is the manifest row that the shard's rows are counted from; the journal's are the manifest's."""
        layout = history.layout or Layout(())
        versions = {item for attempt in history.attempts for item in attempt.start.versions.items()}
        found = history.commits.values()
        commits = tuple(_usable(shard, layout, (c.counted_from(first) for c in found) if first else found))
        return cls(shard, done, layout, commits, history.bad_lines, tuple(sorted(versions)))

    def gaps(self) -> Iterator[CopyRange]:
        """The missing rows."""
        at = self.shard.start
        for commit in self.commits:
            if commit.start > at:
                yield CopyRange(at, commit.start)
            at = commit.stop
        if at < self.shard.stop:
            yield CopyRange(at, self.shard.stop)

    def spans(self, limit: int) -> Iterator[CopyRange]:
        """All rows: neighbouring commits of up to ``limit`` bytes together (at least one), and fills."""
        group: list[Commit] = []
        room = limit
        row_bytes = sum(output.row_bytes for output in self.layout.outputs)
        each = [CopyRange(commit.start, commit.stop, (commit,) if commit.hashes else ()) for commit in self.commits]
        for span in sorted([*each, *self.gaps()], key=lambda span: span.start):
            values = sum(segment.size for commit in span.commits for segment in commit.segments.values())
            size = values + sum(row_bytes * (commit.stop - commit.start) for commit in span.commits)
            if group and (not span.commits or size > room):
                yield CopyRange(group[0].start, group[-1].stop, tuple(group))
                group, room = [], limit
            group.extend(span.commits)
            room -= size
            if not span.commits:
                yield span
        if group:
            yield CopyRange(group[0].start, group[-1].stop, tuple(group))

    @contextmanager
    def open(self, run: RunDir) -> Iterator[ShardFile | None]:
        """The shard's files, whether it is done or not; None where one is gone, or where there never was one."""
        file = None
        # Done, part, done: a part file that gets its final name between two looks is found by the third.
        for done in (True, False, True) if any(commit.hashes for commit in self.commits) else ():
            with suppress(FileNotFoundError):
                file = ShardFile.open(run, self.shard, self.layout, done=done)
                break
        try:
            yield file
        finally:
            if file:
                file.close()


def _usable(shard: Shard, layout: Layout, commits: Iterable[Commit]) -> Iterator[Commit]:
    names = {output.name for output in layout.outputs}
    ragged = {output.name: output.item_bytes for output in layout.outputs if output.ragged}
    at = shard.start
    for commit in sorted(commits, key=lambda commit: commit.start):
        if at <= commit.start < commit.stop <= shard.stop and _accounts_for(names, ragged, commit):
            yield commit
            at = commit.stop


def _accounts_for(names: set[str], ragged: dict[str, int], commit: Commit) -> bool:
    if not all(commit.start <= sample.row < commit.stop for sample in commit.failed):
        return False
    if not commit.hashes:
        return len(commit.failed) == commit.stop - commit.start
    if commit.hashes.keys() != names or commit.segments.keys() != ragged.keys():
        return False
    return all(segment.size % ragged[name] == 0 for name, segment in commit.segments.items())


class Committed:
    """The shards of a part as their journals were when first read; reading a shard again gives the same.

    Rows count from the part's first one, as in its result.
    """

    def __init__(self, run: RunDir, plan: Plan, part: Part) -> None:
        self._run = run
        self._first = part.start
        self._shards = plan.shards_of(part)
        self._done = run.list_shards().done
        self._sizes: dict[int, int] = {}
        self._kept: dict[int, ShardRows] = {}
        self._room = KEPT_COMMITS // len(plan.results)
        self._excluded: set[tuple[int, int]] = set()

    def exclude(self, damaged: Iterable[Damage]) -> None:
        """Counts the rows as missing from now on."""
        self._excluded.update((damage.shard, damage.start) for damage in damaged)

    def shards(self) -> Iterator[ShardRows]:
        for shard in self._shards:
            rows = self._kept.get(shard.index) or self._read(shard)
            if self._excluded:
                commits = (one for one in rows.commits if (shard.index, one.start) not in self._excluded)
                rows = replace(rows, commits=tuple(commits))
            yield rows

    def _read(self, shard: Shard) -> ShardRows:
        path = self._run.journal(shard.index)
        if shard.index not in self._sizes:
            self._sizes[shard.index] = path.stat().st_size if path.exists() else 0
        history = replay(path, self._sizes[shard.index])
        rows = ShardRows.of(shard, shard.index in self._done, history, self._first)
        if len(rows.commits) < self._room:
            self._room -= len(rows.commits) + 1
            self._kept[shard.index] = rows
        return rows
