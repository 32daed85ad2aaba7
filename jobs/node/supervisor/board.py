"""Board: where the attempts of a submission tell each other what they do: claims, and the last beats of journals.

What is read here may be seconds old, and is only ever used to save work.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Protocol

from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.attempts import Attempt, AttemptReader
from jobs.storage.beats import Beat
from jobs.storage.claims import Claim, ClaimFolder
from jobs.storage.rundir import RunDir


class Board(Protocol):
    """What a Claimer looks at."""

    def is_open(self) -> bool:
        """Whether the submission goes on."""

    def begun(self) -> Mapping[int, list[int]]:
        """The numbers of all claims, by range."""

    def claims(self, range_: int, numbers: Iterable[int]) -> list[Claim]:
        """These of a range; one that is not written yet covers no row so far, but its number is gone."""

    def has(self, range_: int, number: int) -> bool:
        """Whether there is such a claim, or the submission has ended; cheap."""

    def take(self, claim: Claim) -> bool:
        """Makes the claim; False where somebody was quicker."""

    def attempt(self, name: str) -> Attempt:
        """An attempt as of now."""

    def has_died(self, attempt: Attempt) -> bool:
        """Whether it is known that its process is gone, whatever its beats say."""


@dataclass
class Sighting:
    """The ``first`` beat that was seen of it, and how long the last one has stayed the same, by the clock of whoever looks."""

    first: int
    number: int
    since: float
    reads: int = 0
    is_over: bool = False

    def read(self, number: int, now: float) -> None:
        """Its last beat is this one."""
        if number != self.number:
            self.number, self.since, self.reads = number, now, 0
        self.reads += 1


class FileBoard:
    """The board of a submission in a run directory. A claim is read once, of a journal what is new."""

    def __init__(self, run: RunDir, submission: int) -> None:
        self._run = run
        self._folder = ClaimFolder(run.claims(submission))
        self._claims: dict[tuple[int, int], Claim] = {}
        self._readers: dict[str, AttemptReader] = {}

    def is_open(self) -> bool:
        return self._folder.is_open()

    def begun(self) -> Mapping[int, list[int]]:
        self._folder.refresh()
        names = {*self._folder.names(), *self._claims}
        return {range_: [number for _, number in some] for range_, some in groupby(sorted(names), itemgetter(0))}

    def claims(self, range_: int, numbers: Iterable[int]) -> list[Claim]:
        return [self._claim(range_, number) for number in numbers]

    def _claim(self, range_: int, number: int) -> Claim:
        claim = self._claims.get((range_, number)) or self._folder.read_one(range_, number)
        if claim is None:
            return Claim(range_, number, "", 0, 0)
        self._claims[range_, number] = claim
        return claim

    def has(self, range_: int, number: int) -> bool:
        self._folder.refresh()
        return self._folder.has(range_, number)

    def take(self, claim: Claim) -> bool:
        is_mine = self._folder.take(claim)
        self._claim(claim.range, claim.number)  # whosever it is: a network file system may not list it for a while
        return is_mine

    def attempt(self, name: str) -> Attempt:
        path = self._run.journal(name)
        reader = self._readers.setdefault(name, AttemptReader(path))
        return reader.read() or Attempt(name, path, None, Beat(0, 0.0))

    def has_died(self, attempt: Attempt) -> bool:
        if attempt.start is None:
            return False
        process = ProcessIdentity.from_json(attempt.start.process)
        return process.is_here and not process.is_alive  # of one elsewhere its beats will tell
