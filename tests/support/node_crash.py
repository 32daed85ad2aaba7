"""What a crash of the machine may leave of an attempt's files: all that a beat covers, and anything of the rest."""

import random
from collections.abc import Iterator
from pathlib import Path

from jobs.storage.attempts import Attempt, Attempts, read_commits, read_head
from jobs.storage.beats import Beat
from jobs.storage.journal import decode
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans


def crash(run: RunDir, dice: random.Random) -> int:
    """All writers are dead. Of what was not synced, some is zeroed, some cut off, some torn, some still there.

    Returns how many bytes of data no beat covered.
    """
    uncovered = 0
    for attempt in Attempts(run).read():
        for path, covered in covered_bytes(attempt).items():
            uncovered += path.stat().st_size - covered.count
            spoil_data(path, covered, dice)
        spoil_journal(attempt.journal, dice)
    for claims in run.submissions.glob("*.claims"):
        for claim in sorted(claims.iterdir()):
            spoil_claim(claim, dice)
    return uncovered


def covered_bytes(attempt: Attempt) -> dict[Path, Spans]:
    """Of each data file, what the commits that the last beat covers have stored there."""
    files = read_head(attempt).files
    found: dict[int, list[tuple[int, int]]] = {number: [] for number in files}
    for commit in read_commits(attempt):
        for block in commit.blocks:
            found[block.file].append((block.offset, block.offset + block.size))
    return {files[number]: Spans(ranges) for number, ranges in found.items()}


def spoil_data(path: Path, covered: Spans, dice: random.Random) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        for start, stop in Spans([(0, size)]) - covered:
            for at in range(start, stop, 64):
                if dice.random() < 0.5:
                    file.seek(at)
                    file.write(bytes(min(64, stop - at)))
        if dice.random() < 0.5:
            file.truncate(dice.randint(covered.stop if covered else 0, size))


def spoil_journal(path: Path, dice: random.Random) -> None:
    data = path.read_bytes()
    synced = max((stop for stop, line in lines(data) if isinstance(decode(line), Beat)), default=0)
    rest = bytearray(data[synced:])
    if rest and dice.random() < 0.5:
        at = dice.randrange(len(rest))
        rest[at : at + 512] = bytes(len(rest[at : at + 512]))
    if dice.random() < 0.5:
        rest = rest[: dice.randint(0, len(rest))]
    path.write_bytes(data[:synced] + rest)


def lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each whole line, and where it ends."""
    at = 0
    for line in data.split(b"\n")[:-1]:
        at += len(line) + 1
        yield at, line


def spoil_claim(path: Path, dice: random.Random) -> None:
    """Nobody syncs claims."""
    chance = dice.random()
    if chance < 0.1:
        path.unlink()
    elif chance < 0.2:
        path.write_bytes(b"")
