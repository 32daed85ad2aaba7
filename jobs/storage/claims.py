"""Claims: which attempt works on which rows of a submission. They only save work: whoever works twice harms nothing.

A submission's rows are cut into ranges. Claim 1 of a range is all of it; a later one takes some rows from whoever has them
now, and a row belongs to the newest claim that covers it. A claim is a file that is made once (O_EXCL, which is atomic on
network file systems too) and never changed. There is no lock, no lease, no clock.
"""

import errno
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.storage import checked_lines
from jobs.storage.files import exists, refresh_names
from jobs.storage.spans import Spans

_FILE = re.compile(r"(\d{6,})\.(\d+)")


@dataclass(frozen=True, order=True)
class Claim:
    """Claim ``number`` of range ``range``, from 1: rows ``[start, stop)`` are for the attempt of that name."""

    range: int
    number: int
    attempt: str
    start: int
    stop: int


class ClaimFolder:
    """The claims of one submission. The folder is made with it, and removed when it has ended."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def is_open(self) -> bool:
        """Whether the submission goes on."""
        return exists(self.path)

    def take(self, claim: Claim) -> bool:
        """Makes the claim; False where somebody was quicker, or the submission has ended."""
        # No fsync: after a crash of the machine the work of a claim that is lost is done twice, and nothing else.
        try:
            descriptor = os.open(self._file(claim.range, claim.number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except (FileExistsError, FileNotFoundError):
            return False
        try:
            # Until then it is empty, and others leave the range to whoever is about to say who it is, for some seconds.
            os.write(descriptor, checked_lines.encode([claim.attempt, claim.start, claim.stop]))
        finally:
            os.close(descriptor)
        return True

    def _file(self, range_: int, number: int) -> Path:
        return self.path / f"{range_:06d}.{number}"

    def has(self, range_: int, number: int) -> bool:
        """Whether there is such a claim; True as well where the submission has ended, which takes all work from everybody."""
        return exists(self._file(range_, number)) or not exists(self.path)

    def refresh(self) -> None:
        """See ``refresh_names``."""
        refresh_names(self.path)

    def names(self) -> list[tuple[int, int]]:
        """Range and number of each claim that was begun."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return []
        return sorted((int(match[1]), int(match[2])) for name in names if (match := _FILE.fullmatch(name)))

    def read(self) -> list[Claim]:
        """All claims, by range and number. A file that is still empty is left out: its writer has it to itself so far."""
        return [claim for name in self.names() if (claim := self.read_one(*name))]

    def read_one(self, range_: int, number: int) -> Claim | None:
        """None where there is none, or where it is not written yet, or damaged."""
        try:
            attempt, start, stop = checked_lines.decode(self._file(range_, number).read_bytes().rstrip(b"\n"))
        except ValueError:
            return None
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
            return None
        return Claim(range_, number, attempt, start, stop)


def holdings(claims: Iterable[Claim]) -> Mapping[Claim, Spans]:
    """What each claim still covers: its rows without those that later claims of its range have taken."""
    found: dict[Claim, Spans] = {}
    taken: dict[int, Spans] = {}
    for claim in sorted(claims, reverse=True):
        later = taken.get(claim.range, Spans())
        own = Spans([(claim.start, claim.stop)])
        found[claim] = own - later
        taken[claim.range] = later | own
    return found
