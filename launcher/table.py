"""Table: rows of words as lines, in columns."""

from collections.abc import Collection, Iterator, Sequence


def table_lines(heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> Iterator[str]:
    """``right`` are the columns of numbers. A column without a word in any row is left out."""
    shown = [at for at in range(len(heads)) if any(row[at] for row in rows)]
    widths = {at: max(len(row[at]) for row in (heads, *rows)) for at in shown}
    for row in (heads, *rows):
        words = [f"{row[at]:>{widths[at]}}" if heads[at] in right else f"{row[at]:{widths[at]}}" for at in shown]
        yield "  ".join(words).rstrip()
