"""Section: what is committed of some rows of a result, counted from the first of these: of one file of several, or of all."""

from collections.abc import Iterator

from jobs.gather.committed import Committed, Stored, Unlike


class Sections:
    """Cuts what is committed into sections, asked for one after another by ascending rows: the journals are read once."""

    def __init__(self, committed: Committed) -> None:
        self._committed = committed
        self._coming = committed.batches()
        self._next = next(self._coming, None)

    def take(self, start: int, stop: int) -> "Section":
        return Section(self._committed, self._take(start, stop), start)

    def _take(self, start: int, stop: int) -> Iterator[Stored]:
        while self._next and self._next.commit.start < stop:
            if self._next.commit.start >= start:  # else of a section that nobody has read to its end
                yield self._next
            self._next = next(self._coming, None)


class Section:
    """Its batches can be read once; rows count from ``start`` of the result."""

    def __init__(self, committed: Committed, batches: Iterator[Stored], start: int) -> None:
        self._committed = committed
        self._batches = batches
        self._start = start

    @property
    def has_choice(self) -> bool:
        return self._committed.has_choice

    def batches(self) -> Iterator[Stored]:
        return (self._counted(stored, self._start) for stored in self._batches)

    def others(self, stored: Stored) -> Iterator[Stored]:
        """The same batch as other attempts have it, those that count first coming first."""
        return (self._counted(one, self._start) for one in self._committed.others(self._counted(stored, -self._start)))

    def as_of_result(self, one: Unlike) -> Unlike:
        """The same batch, with rows of the result."""
        return Unlike(self._counted(one.stored, -self._start), one.what)

    def _counted(self, stored: Stored, row: int) -> Stored:
        return stored._replace(commit=stored.commit.counted_from(row)) if row else stored
