"""Attempts: what the attempts of a run have stored, read from their journals; and which of them counts for which rows.

Nobody writes what another attempt may write, so several may have stored the same rows: those of the newest submission
count, then those of the attempt whose name comes first. Only what its last beat covers counts of an attempt at all.
"""

import heapq
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from jobs.storage.beats import Beat
from jobs.storage.files import refresh_names
from jobs.storage.journal import decode, ended_lines, read_lines
from jobs.storage.old_run import OldView, old_view
from jobs.storage.plans import Plan
from jobs.storage.records import AttemptStart, Commit, Commits, DataFile, FailedSample, Layout, Record
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Range, Spans

_NAME = re.compile(r"(\d{4,})-[\w-]+")
_HEAD = 1 << 14
_TAIL = 1 << 13
_BEAT = b' {"type":"beat"'
_NO_BEAT = Beat(0, 0.0)


class Attempt(NamedTuple):
    """An attempt as its journal tells it; ``beat`` is its last one, without anything done where there is none yet.

    ``has_void``: some of what it did is not in ``beat.done``, since the samples are others now, but in its other figures.
    """

    name: str
    journal: Path
    start: AttemptStart | None
    beat: Beat
    has_void: bool = False

    @property
    def submission(self) -> int:
        """The number of its submission."""
        return int(self.name.partition("-")[0])

    @property
    def host(self) -> str:
        """The node that it is on; empty where it has not told yet."""
        return self.start.host if self.start else ""

    @property
    def is_over(self) -> bool:
        """Whether it said that it ended."""
        return self.beat.end is not None


class AttemptReader:
    """The journal of an attempt, which may grow; looked at again, only what is new is read."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._path = path
        self._start: AttemptStart | None = None
        self._beat = _NO_BEAT
        self._beat_at = 0
        self._size = 0

    def read(self) -> Attempt | None:
        """As of now; None where the journal is gone."""
        if self._beat.end is not None:
            return Attempt(self.name, self._path, self._start, self._beat)  # nothing comes after that
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            size = os.fstat(descriptor).st_size
            if self._start is None:
                record = decode(os.pread(descriptor, _HEAD, 0).partition(b"\n")[0])
                self._start = record if isinstance(record, AttemptStart) else None
            if size != self._size:
                self._beat_at, self._beat = _last_beat(descriptor, self._beat_at, size) or (self._beat_at, self._beat)
                self._size = size
        except OSError as error:
            error.filename = str(self._path)  # reading by descriptor does not tell it
            raise
        finally:
            os.close(descriptor)
        return Attempt(self.name, self._path, self._start, self._beat)


def _last_beat(descriptor: int, start: int, stop: int) -> tuple[int, Beat] | None:
    """The last beat in bytes ``[start, stop)`` and where its line begins, looked for from the end; ``start`` begins a line.

    What comes after it is at most what one interval writes. A torn or damaged one is passed over.
    """
    tail, at, step = b"", stop, _TAIL
    while at > start:
        first = max(start, at - step)
        tail = os.pread(descriptor, at - first, first) + tail
        at, step, end = first, 2 * step, len(tail)
        while (found := tail.rfind(_BEAT, 0, end)) >= 0:
            line_start = tail.rfind(b"\n", 0, found) + 1
            line, newline, _ = tail[line_start:].partition(b"\n")
            # Without a line's end before it, it may begin before what was read.
            record = decode(line) if newline and (line_start or at == start) else None
            if isinstance(record, Beat):
                return at + line_start, record
            end = found
    return None


class Attempts:
    """All attempts of a run, or those of one submission, looked at again and again."""

    def __init__(self, run: RunDir, submission: int | None = None) -> None:
        self._run = run
        self._folder = run.attempts
        self._old = old_view(run)
        self._old_folder: Path | None = None
        self._prefix = "" if submission is None else f"{submission:04d}-"
        self._readers: dict[str, AttemptReader] = {}

    def read(self) -> list[Attempt]:
        """As of now, by name: one listing, and a look at each journal that has grown."""
        self._look(self._folder)
        if self._old:
            self._look_at_old(self._old)
        found = (self._readers[name].read() for name in sorted(self._readers))
        return [self._valid(attempt) for attempt in found if attempt and self._is_ours(attempt)]

    def _is_ours(self, attempt: Attempt) -> bool:
        """Whether it worked for the run's plan; a task that started before the plan was another may have written since."""
        return attempt.start is None or attempt.start.plan in ("", self._plan.fingerprint)

    def _valid(self, attempt: Attempt) -> Attempt:
        """Without what it did of samples that have changed since it read them."""
        void = self._plan.void_since(attempt.start.generation if attempt.start else 1)
        if not (done := attempt.beat.done) & void:
            return attempt
        return attempt._replace(beat=replace(attempt.beat, done=done - void), has_void=True)

    @cached_property
    def _plan(self) -> Plan:
        return Plan.read(self._run.plan)

    def _look(self, folder: Path) -> None:
        for name in attempt_names(folder):
            if name.startswith(self._prefix) and name not in self._readers:
                self._readers[name] = AttemptReader(folder / f"{name}.journal")

    def _look_at_old(self, old: OldView) -> None:
        """Until somebody has imported an older version's run, journals of another folder stand for its shards."""
        folder = old.folder()
        if folder != self._old_folder:
            self._old_folder = folder
            self._readers.clear()
            self._look(self._folder)
        if folder:
            self._look(folder)


def attempt_names(folder: Path) -> Iterator[str]:
    """The names of the attempts whose journals are in a folder; none where there is no such folder."""
    refresh_names(folder)
    try:
        entries = os.listdir(folder)
    except FileNotFoundError:
        return
    for entry in entries:
        name, dot, kind = entry.rpartition(".")
        if kind == "journal" and dot and _NAME.fullmatch(name):
            yield name


@dataclass(frozen=True)
class Ownership:
    """An attempt, and the rows for which it counts."""

    attempt: Attempt
    rows: Spans

    @cached_property
    def is_whole(self) -> bool:
        """Whether all that it stored counts, so that its own figures do."""
        return self.rows == self.attempt.beat.done and not self.attempt.has_void


def by_precedence(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Those that count first come first: the newest submission's, and of these by name."""
    return sorted(attempts, key=lambda attempt: (-attempt.submission, attempt.name))


def owners(attempts: Iterable[Attempt]) -> list[Ownership]:
    """Which attempt counts for which rows, those that count first coming first; no row has two."""
    ranked = by_precedence(attempts)
    waiting = sorted((start, stop, rank) for rank, one in enumerate(ranked) for start, stop in one.beat.done)
    edges = sorted({edge for start, stop, _ in waiting for edge in (start, stop)})
    owned: dict[int, list[Range]] = {}
    active: list[tuple[int, int]] = []  # a heap of (rank, stop): the first counts at this edge, once it has not ended
    at = 0
    for left, right in itertools.pairwise(edges):
        while at < len(waiting) and waiting[at][0] <= left:
            heapq.heappush(active, (waiting[at][2], waiting[at][1]))
            at += 1
        while active and active[0][1] <= left:
            heapq.heappop(active)
        if active:
            owned.setdefault(active[0][0], []).append((left, right))
    return [Ownership(ranked[rank], Spans(ranges)) for rank, ranges in sorted(owned.items())]


def read_records(path: Path, start: int = 0) -> Iterator[Record | None]:
    """The records of a journal from byte ``start`` on; None for a line that is damaged, or torn: the last may be."""
    return (decode(line) for _, line in read_lines(path, start))


def read_commits(attempt: Attempt, rows: Spans | None = None) -> Iterator[Commit]:
    """The commits of an attempt that begin in ``rows`` (None: in what is done), in the order in which they were written."""
    wanted = attempt.beat.done if rows is None else rows
    for record in read_records(attempt.journal):
        if isinstance(record, Commits):
            yield from (commit for commit in record.commits if commit.start in wanted)


def failed_lines(journal: Path, start: int = 0) -> Iterator[tuple[int, tuple[FailedSample, ...]]]:
    """Failed samples, those of a line together, with where the next line begins; last of all how far it was read.

    From byte ``start`` on; a line that is being written is left for the next time.
    """
    read = start
    for read, line in ended_lines(journal, start):
        # Only a commit with failed samples says whether it was split; most have none, and are not worth decoding.
        if b"false]" in line or b"true]" in line:
            record = decode(line)
            if isinstance(record, Commits):
                yield read, tuple(itertools.chain.from_iterable(commit.failed for commit in record.commits))
    yield read, ()


def read_failed(journal: Path) -> Iterator[FailedSample]:
    """All failed samples that an attempt has committed, in the order in which it did."""
    return itertools.chain.from_iterable(samples for _, samples in failed_lines(journal))


class Head(NamedTuple):
    """What stands at the top of a journal: the run's outputs, once they are known, and the attempt's files by number."""

    layout: Layout | None
    files: dict[int, Path]


def read_head(attempt: Attempt) -> Head:
    """Both stand before the first commit of something that was stored: batches whose samples all failed may come earlier.

    Where that had only empty lists of an output, what it is of may be said later.
    """
    layout, files = None, {}
    for record in read_records(attempt.journal):
        match record:
            case Layout():
                layout = record
            case DataFile():
                files[record.number] = attempt.journal.parent / record.name
            case Commits() if any(commit.blocks for commit in record.commits) and not (layout and layout.is_open):
                break
    return Head(layout, files)


def known_layout(attempts: Sequence[Attempt]) -> Layout | None:
    """The outputs as attempts that stored something have them; None before the first."""
    known = None
    for attempt in attempts:
        layout = read_head(attempt).layout if attempt.beat.done else None
        known = known.joined(layout.outputs) or known if known and layout else known or layout
        if known and not known.is_open:
            break
    return known
