"""Tables of textual whose rows change: the cursor stays on its row, and what has not changed is not drawn again."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text
from textual.widgets import DataTable


def fill(table: DataTable[Any], heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """Has the table show these rows, by key, in their order. A column without a word in any of them is left out."""
    columns = [at for at in range(len(heads)) if not rows or any(row[at] for row in rows.values())]
    shown = {key: [row[at] for at in columns] for key, row in rows.items()}
    labels = [heads[at] for at in columns]
    is_same = labels == [column.label.plain for column in table.columns.values()]
    if is_same and [key.value for key in table.rows] == list(shown):
        _change(table, shown)
        return
    at = table.cursor_row
    chosen = table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value if table.row_count else None
    table.clear(columns=not is_same)
    if not is_same:
        table.add_columns(*labels)
    for key, words in shown.items():
        table.add_row(*map(Text, words), key=key)
    if shown:
        table.move_cursor(row=list(shown).index(chosen) if chosen and chosen in shown else min(at, len(shown) - 1))


def _change(table: DataTable[Any], rows: Mapping[str, Sequence[str]]) -> None:
    """The cells that have another word now."""
    for key, words in rows.items():
        for column, word in zip(table.columns, words, strict=True):
            if table.get_cell(key, column).plain != word:
                table.update_cell(key, column, Text(word), update_width=True)
