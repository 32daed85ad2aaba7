"""Table: rows of words as lines, in columns."""

from collections.abc import Collection, Iterator, Sequence

_GAP = "  "


def table_lines(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[str] = (),
    width: int | None = None,
    spare: Sequence[str] = (),
) -> Iterator[str]:
    """``right`` are the columns of numbers. A column without a word in any row is left out.

    Where the columns that have a head take more than ``width`` characters, those of ``spare`` are left out, in its order.
    """
    shown = [at for at in range(len(heads)) if any(row[at] for row in rows)]
    widths = {at: max(len(row[at]) for row in (heads, *rows)) for at in shown}
    for head in spare:
        if width and sum(widths[at] + len(_GAP) for at in shown if heads[at]) - len(_GAP) > width:
            shown = [at for at in shown if heads[at] != head]
    for row in (heads, *rows):
        words = [f"{row[at]:>{widths[at]}}" if heads[at] in right else f"{row[at]:{widths[at]}}" for at in shown]
        yield _GAP.join(words).rstrip()
