"""Looking for damage: every batch that counts, hashed again."""

from collections.abc import Callable, Iterator, Sequence

from jobs.gather.committed import Committed, Damage, Stored, Unlike
from jobs.gather.window_reader import WindowReader, unlike
from jobs.gather.windows import windows


def find_damage(committed: Committed, rows: int, advance: Callable[[int], None] | None = None) -> Iterator[Damage]:
    """The closed rows of ``[0, rows)`` that no attempt has as it committed them, in row order.

    ``advance`` is called with the end of the rows that have been looked at.
    """
    with WindowReader() as reader:
        for window in windows(committed.batches(), rows):
            if not window.batches:
                yield from committed.lost(window.start, window.stop)
            for one in _unlike(reader, window.batches):
                if not any(not _unlike(reader, [other]) for other in committed.others(one.stored)):
                    yield committed.damage(one)
            if advance:
                advance(window.stop)


def _unlike(reader: WindowReader, batches: Sequence[Stored]) -> list[Unlike]:
    return unlike(batches, reader.read(batches))
