"""Stream: one pass over samples: cuts them into batches, keeps a bounded number under way, restores their order.

Everything happens in the caller's thread while it asks for results, so a consumer that stops asking stops the producers
too, as soon as all slots are taken.
"""

import itertools
import operator
import time
from collections.abc import Generator, Iterable
from typing import Any

from jobs.errors import InputError, RunError, described
from jobs.library.answers import results
from jobs.library.batch_size import SOURCE_SECONDS, BatchSize
from jobs.library.link import Handed, Link
from jobs.library.pickles import CANNOT, Packed, pack

# Samples that are drawn between two looks at the clock.
_LOOK_EVERY = 64


class Stream:
    """Iterating gives the results of a batch, and whether samples of it failed; in order, or as batches are done."""

    def __init__(self, link: Link, samples: Iterable[Any], size: BatchSize, ordered: bool) -> None:
        self._link = link
        self._left = operator.length_hint(samples, -1)
        self._samples = iter(samples)
        self._size = size
        self._ordered = ordered
        self._first = 0
        self._exhausted = False
        self._slow = False
        self._under_way: dict[int, Handed] = {}
        self._done: dict[int, Handed] = {}

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
                handed = self._link.hand_out(self._pack(samples), len(samples))
                self._under_way[handed.start] = handed
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
        except CANNOT:
            for position, sample in enumerate(samples):
                try:
                    pack(sample)
                except CANNOT as error:
                    index = self._link.row - self._first + position
                    what = f"sample {index} (a {type(sample).__name__}) cannot be sent to the workers"
                    advice = "send what it is made from, such as a path or a number, and make it there"
                    raise InputError(f"{what}: {described(error)}; {advice}") from None
            raise

    # --- results

    def _take(self) -> tuple[list[Any], bool]:
        """Waits for the batch whose turn it is."""
        while (start := self._ready()) is None:
            self._collect(wait=True)
        del self._under_way[start]
        handed = self._done.pop(start)
        first, last = handed.start - self._first, handed.stop - self._first - 1
        try:
            answer, seconds, size = self._link.take(handed)
        except Exception as error:  # whatever the classes of the results raise
            what = f"the results of samples {first} to {last} cannot be loaded here"
            raise RunError(f"{what}: {described(error)}") from error
        self._size.done(handed.rows, seconds, size)
        return results(answer, self._first, handed.start, handed.rows), bool(answer[1])

    def _ready(self) -> int | None:
        start = next(iter(self._under_way if self._ordered else self._done), None)
        return start if start in self._done else None

    def _collect(self, wait: bool) -> None:
        """Takes note of the batches that are done."""
        handed = self._link.receive(wait)
        while handed:
            self._done[handed.start] = handed
            handed = self._link.receive(wait=False)
