"""Stream: one pass over samples: cuts them into batches, keeps a bounded number under way, restores their order.

Everything happens in the caller's thread while it asks for results, so a consumer that stops asking stops the producers
too, as soon as all slots are taken.
"""

import itertools
import operator
import time
from collections.abc import Generator, Iterable
from typing import Any

from jobs.errors import InputError, a_type, described
from jobs.library.answers import Unloadable, results
from jobs.library.batch_size import SOURCE_SECONDS, BatchSize
from jobs.library.link import Handed, Link
from jobs.pickles import Packed, pack

# Samples that are drawn between two looks at the clock.
_LOOK_EVERY = 64
# A pickle that names a class or function; without any there is nothing in it that could fail where it is unpickled.
_NAMES = b"\x93"


class Stream:
    """Iterating gives the results of a batch, and whether samples of it failed; in order, or as batches are done."""

    def __init__(self, link: Link, samples: Iterable[Any], size: BatchSize, ordered: bool) -> None:
        self._link = link
        self._left = _length_hint(samples)
        self._samples = iter(samples)
        self._size = size
        self._ordered = ordered
        self._first = 0
        self._exhausted = False
        self._slow = False
        self._under_way: dict[int, Handed] = {}
        self._done: dict[int, Handed] = {}
        # Samples that may be wanted again, and batches that were done sample by sample.
        self._given: dict[int, list[Any]] = {}
        self._alone: set[int] = set()

    def __iter__(self) -> Generator[tuple[list[Any], bool], None, None]:
        with self._link.claim():
            self._first = self._link.row
            while True:
                self._feed()
                if self._under_way:
                    answer = self._take()
                    if not self._slow:
                        self._feed()
                    yield answer
                elif self._exhausted:
                    return
                else:  # an earlier pass was given up, and its batches still have all slots
                    self._link.receive(wait=True)

    # --- samples

    def _feed(self) -> None:
        """Hands out batches, as many as there is room for; a slow source is not waited for while there are results."""
        while not self._exhausted and self._link.room:
            if self._slow:
                self._collect(wait=False)
                if self._ready() is not None:
                    return
            samples = self._draw()
            if samples:
                packed = self._pack(samples)
                handed = self._link.hand_out(packed, len(samples))
                self._under_way[handed.start] = handed
                if _NAMES in bytes(packed.data):
                    self._given[handed.start] = samples
                self._size.sent(len(samples), handed.size)

    def _draw(self) -> list[Any]:
        """The samples of the next batch."""
        left = None if self._left < 0 else max(0, self._left - (self._link.row - self._first))
        count = self._size.next(left)
        began = time.monotonic()
        samples: list[Any] = []
        while len(samples) < count:
            wanted = min(count - len(samples), _LOOK_EVERY)
            drawn = list(itertools.islice(self._samples, wanted))
            samples += drawn
            if len(drawn) < wanted:
                self._exhausted = True
                break
            if self._size.flexible and time.monotonic() - began > SOURCE_SECONDS:
                break
        seconds = time.monotonic() - began
        self._slow = seconds > SOURCE_SECONDS
        self._size.drawn(len(samples), seconds)
        return samples

    def _pack(self, samples: list[Any]) -> Packed:
        try:
            return pack(samples)
        except Exception:  # whatever their classes raise
            for position, sample in enumerate(samples):
                self._pack_one(sample, self._link.row - self._first + position)
            raise

    def _pack_one(self, sample: Any, index: int) -> Packed:
        try:
            return pack(sample)
        except Exception as error:
            what = f"sample {index} ({a_type(sample)}) cannot be sent to the workers"
            advice = "send what it is made from, such as a path or a number, and make it there"
            raise InputError(f"{what}: {described(error)}; {advice}") from None

    # --- results

    def _take(self) -> tuple[list[Any], bool]:
        """Waits for the batch whose turn it is."""
        while True:
            while (start := self._ready()) is None:
                self._collect(wait=True)
            handed = self._done.pop(start)
            if self._link.unread(handed) and start in self._given:
                self._send_apart(handed)
                continue
            answer, seconds, size = self._link.look(handed)
            try:
                found = results(answer, self._first, start, handed.rows, alone=start in self._alone)
            except Unloadable:  # which of them is found where each is a pickle of its own
                self._alone.add(start)
                self._link.hand_again(handed, None)
                continue
            self._forget(handed)
            self._size.done(handed.rows, seconds, size)
            return found

    def _send_apart(self, handed: Handed) -> None:
        """The samples again, each of them a pickle of its own: those that cannot be unpickled fail alone."""
        samples = self._given.pop(handed.start)
        first = handed.start - self._first
        self._link.hand_again(handed, pack([self._pack_one(sample, first + at) for at, sample in enumerate(samples)]))

    def _forget(self, handed: Handed) -> None:
        del self._under_way[handed.start]
        self._given.pop(handed.start, None)
        self._link.take(handed)

    def _ready(self) -> int | None:
        start = next(iter(self._under_way if self._ordered else self._done), None)
        return start if start in self._done else None

    def _collect(self, wait: bool) -> None:
        """Takes note of the batches that are done."""
        handed = self._link.receive(wait)
        while handed:
            self._done[handed.start] = handed
            handed = self._link.receive(wait=False)


def _length_hint(samples: Iterable[Any]) -> int:
    """How many there will be, as far as that is known; -1 where it is not, or is more than a length can be."""
    try:
        return operator.length_hint(samples, -1)
    except OverflowError:
        return -1
