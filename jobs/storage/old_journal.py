"""OldJournal: the history of a shard as versions before attempts/ wrote it, shards/NNNNNN.journal. Only read.

Its lines are checksummed as those of an attempt's journal, and hold other records: start and end of an attempt at the shard,
layout, commit (one batch), retry (failed samples are to be tried again, so commits with some are void).
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from jobs.kinds import EndReason, FailureKind, SampleFailureKind, Unknown, known
from jobs.storage.records import FailedSample, Layout


class OldStart(NamedTuple):
    """An attempt took the shard."""

    submission: int
    time: float
    host: str
    pid: int
    devices: tuple[str, ...]
    workers: int
    versions: Mapping[str, str]


@dataclass(frozen=True)
class OldEnd:
    """Why it ended; ``usage`` is what it was given and took."""

    reason: EndReason | Unknown
    time: float
    kind: FailureKind | Unknown | None
    message: str
    seconds: float
    usage: Mapping[str, Any]


@dataclass
class OldAttempt:
    """``end`` is None where it was killed, or still runs."""

    start: OldStart
    end: OldEnd | None = None


@dataclass(frozen=True, slots=True)
class OldCommit:
    """Rows ``[start, stop)``: the hash of each output's rows, and where the values of ragged ones lie (offset, size, hash)."""

    start: int
    stop: int
    hashes: Mapping[str, str]
    segments: Mapping[str, tuple[int, int, str]]
    failed: tuple[FailedSample, ...]
    split: bool
    seconds: float


@dataclass
class OldHistory:
    """A journal replayed. ``commits`` are those that count, by first row, each with the position of its attempt.

    ``offsets`` say where an output's rows, or their lengths, begin in the shard file.
    """

    attempts: list[OldAttempt] = field(default_factory=list)
    layout: Layout | None = None
    offsets: Mapping[str, int] = field(default_factory=dict)
    commits: dict[int, tuple[int, OldCommit]] = field(default_factory=dict)

    def read(self, data: Mapping[str, Any]) -> None:
        """Applies a record; one that has not the fields which these versions wrote counts for nothing."""
        with suppress(ValueError, KeyError, TypeError):
            self._apply(data)

    def _apply(self, data: Mapping[str, Any]) -> None:
        match data["type"]:
            case "start":
                self.attempts.append(OldAttempt(_start(data)))
            case "end" if self.attempts:
                self.attempts[-1].end = _end(data)
            case "layout":
                layout = Layout.from_json(dict(data))
                self.layout, self.offsets = layout, {output["name"]: output["offset"] for output in data["outputs"]}
            case "commit" if self.attempts:
                self.commits[data["start"]] = len(self.attempts) - 1, _commit(data)
            case "retry":
                self.commits = {start: found for start, found in self.commits.items() if not found[1].failed}


def replay(path: Path) -> OldHistory:
    """The history of a shard; empty where it has no journal. A line that is torn or damaged counts for nothing."""
    history = OldHistory()
    for data in _lines(path):
        history.read(data)
    return history


def layout_of(path: Path) -> Layout | None:
    """The outputs that a shard's journal tells of, which stand at its top."""
    history = OldHistory()
    for data in _lines(path):
        if data.get("type") == "layout":
            history.read(data)
            break
    return history.layout


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for line in file:
                checksum, _, body = line.rstrip(b"\n").partition(b" ")
                if xxhash.xxh3_64_hexdigest(body).encode() == checksum:
                    yield json.loads(body)
    except FileNotFoundError:
        return


def _start(data: Mapping[str, Any]) -> OldStart:
    devices, workers = tuple(data.get("devices", ())), data.get("workers", 0)
    submission, time, host, pid = (data[name] for name in ("submission", "time", "host", "pid"))
    return OldStart(submission, time, host, pid, devices, workers, data.get("versions", {}))


def _end(data: Mapping[str, Any]) -> OldEnd:
    kind = data.get("kind")
    return OldEnd(
        reason=known(EndReason, data["reason"]),
        time=data["time"],
        kind=known(FailureKind, kind) if kind else None,
        message=data.get("message", ""),
        seconds=data.get("seconds", 0.0),
        usage=data,
    )


def _commit(data: Mapping[str, Any]) -> OldCommit:
    failed = (FailedSample(row, known(SampleFailureKind, kind), *more) for row, kind, *more in data.get("failed", ()))
    return OldCommit(
        start=data["start"],
        stop=data["stop"],
        hashes=data["hashes"],
        segments={name: (offset, size, hashed) for name, (offset, size, hashed) in data.get("segments", {}).items()},
        failed=tuple(failed),
        split=data.get("split", False),
        seconds=data.get("seconds", 0.0),
    )
