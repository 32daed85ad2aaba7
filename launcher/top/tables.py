"""Tables of textual whose rows change: the cursor stays on its row, and what has not changed is not drawn again."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text
from textual.widgets import DataTable


def fill(table: DataTable[Any], rows: Mapping[str, Sequence[str]]) -> None:
    """Has the table show these rows, by key, in their order."""
    if [key.value for key in table.rows] == list(rows):
        for key, words in rows.items():
            for column, word in zip(table.columns, words, strict=True):
                if table.get_cell(key, column).plain != word:
                    table.update_cell(key, column, Text(word), update_width=True)
        return
    at = table.cursor_row
    chosen = table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value if table.row_count else None
    table.clear()
    for key, words in rows.items():
        table.add_row(*map(Text, words), key=key)
    if rows:
        table.move_cursor(row=list(rows).index(chosen) if chosen and chosen in rows else min(at, len(rows) - 1))
