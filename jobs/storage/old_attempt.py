"""OldSubmission: what a submission of an older version has stored, written down as the journal of an attempt."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.kinds import EndReason, FailureKind
from jobs.storage.beats import Beat, GivenUp, Held
from jobs.storage.files import replacing
from jobs.storage.journal import encode
from jobs.storage.old_journal import OldAttempt, OldEnd
from jobs.storage.records import AttemptStart, Commit, Commits, DataFile, Layout
from jobs.storage.sample_failures import FailureTally
from jobs.storage.shard_table import Shard
from jobs.storage.spans import Range, Spans

_COMMITS_IN_A_LINE = 64


class OldSubmission:
    """Takes shards in order. Commits are kept in a temporary file until all is known that stands before them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._last: dict[int, OldAttempt] = {}
        self._attempts: list[OldAttempt] = []
        self._files: dict[str, int] = {}
        self._commits = tempfile.TemporaryFile()  # noqa: SIM115 - closed by write
        self._done: list[Range] = []
        self._held: list[Held] = []
        self._rows = 0
        self._failed = 0
        self._shared: dict[int, int] = {}
        self._tally = FailureTally()

    def file_number(self, name: str) -> int:
        """Of a file below shards/."""
        return self._files.setdefault(name, len(self._files))

    def worked_at(self, shard: Shard, attempt: OldAttempt) -> None:
        """One of its attempts at a shard, the last of them last."""
        self._attempts.append(attempt)
        self._last[shard.index] = attempt
        if self._held and self._held[-1].stop >= shard.start:
            self._held[-1] = replace(self._held[-1], stop=shard.stop)
        else:
            self._held.append(Held(len(self._held), 1, shard.start, shard.stop, self._commits.tell()))

    def store(self, shard: Shard, commits: Sequence[Commit]) -> None:
        """What counts of it in a shard."""
        for at in range(0, len(commits), _COMMITS_IN_A_LINE):
            self._commits.write(encode(Commits(tuple(commits[at : at + _COMMITS_IN_A_LINE]))))
        samples = [sample for commit in commits for sample in commit.failed]
        for sample in samples:
            self._tally.add(sample.kind, sample.message, sample.row, shard.index)
        rows = sum(commit.stop - commit.start for commit in commits)
        self._done += [(commit.start, commit.stop) for commit in commits]
        self._rows += rows
        self._failed += len(samples)
        if samples and rows < shard.rows:
            self._shared[shard.index] = len(samples)

    def write(self, path: Path, layout: Layout | None, folder: str) -> None:
        """The whole journal, or nothing; ``folder`` is where the old files are, as seen from the journal's."""
        files = [DataFile(number, os.path.join(folder, name)) for name, number in self._files.items()]
        head = b"".join(map(encode, [self._start(), *([layout] if layout else []), *files]))
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(head)
            self._commits.seek(0)
            shutil.copyfileobj(self._commits, file)
            file.write(encode(self._beat(len(head))))
        self._commits.close()

    def _start(self) -> AttemptStart:
        newest = max(self._attempts, key=lambda attempt: (attempt.end is None, attempt.start.time)).start
        return AttemptStart(
            submission=self.number,
            index=0,
            worker=0,
            time=min(attempt.start.time for attempt in self._attempts),
            host=newest.host,
            # Of no boot: nobody takes a later process for this one.
            process={"host": newest.host, "boot": "", "pid": newest.pid, "start": 0},
            devices=newest.devices,
            workers=newest.workers,
            versions={name: text for one in self._attempts for name, text in one.start.versions.items()},
        )

    def _beat(self, head: int) -> Beat:
        times = [attempt.end.time if attempt.end else attempt.start.time for attempt in self._attempts]
        return Beat(
            number=1,
            time=max(times),
            done=Spans(self._done),
            ok=self._rows - self._failed,
            failed=self._failed,
            advanced=max(times),
            claims=tuple(replace(held, journal=head + held.journal) for held in self._held),
            given_up=tuple(self._given_up()),
            shared=self._shared,
            failures=self._tally.groups(),
            **self._end(),
            **_usage([attempt.end for attempt in self._attempts if attempt.end]),
        )

    def _given_up(self) -> list[GivenUp]:
        ends = ((shard, attempt.end) for shard, attempt in self._last.items())
        return [
            GivenUp(shard, end.kind or FailureKind.ERROR, end.message)
            for shard, end in ends
            if end and end.reason is EndReason.FAILED
        ]

    def _end(self) -> dict[str, Any]:
        """Of all its attempts: none, where one left no trace of its end; else stopped, where one was."""
        ends = [attempt.end for attempt in self._last.values()]
        known = [end for end in ends if end]
        if len(known) < len(ends):
            return {}
        stopped = next((end for end in known if end.reason is EndReason.STOPPED), None)
        return {"end": EndReason.STOPPED, "message": stopped.message} if stopped else {"end": EndReason.DONE}


def _usage(ends: Sequence[OldEnd]) -> dict[str, Any]:
    """That of the longest of them, as the time that they took together says nothing; the most memory that any took."""
    longest = max(ends, key=lambda end: end.seconds, default=None)
    if longest is None:
        return {}
    peak = max(end.usage.get("peak_memory", 0) for end in ends)
    others = ("cpus", "memory_limit", "cpu_seconds", "gpu_use")
    return {
        "seconds": longest.seconds,
        "peak_memory": peak,
        **{k: longest.usage[k] for k in others if k in longest.usage},
    }
