"""NotebookView: the progress of a run in the output of a notebook's cell, redrawn in place."""

import html
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

from launcher.python.main_source import notebook_shell
from launcher.status.progress import state_lines
from launcher.status.status import Status


def is_notebook() -> bool:
    """Whether output goes to a notebook, not to a terminal."""
    return hasattr(notebook_shell(), "kernel")


class NotebookView(AbstractContextManager["NotebookView"]):
    """A bar and the text of `launcher status`."""

    def __init__(self) -> None:
        display: Any = import_module("IPython.display")  # a notebook has it, and a script need not
        self._handle = display.DisplayHandle()
        self._last: dict[str, str] = {}

    def show(self, status: Status) -> None:
        text = "\n".join(state_lines(status))
        done, total = status.ok + status.failed, max(status.total, 1)
        bar = f'<progress value="{done}" max="{total}" style="width: 30em"></progress>'
        shown = {"text/plain": text, "text/html": f"{bar}<pre>{html.escape(text)}</pre>"}
        if shown != self._last:
            (self._handle.update if self._last else self._handle.display)(shown, raw=True)
            self._last = shown

    def __exit__(self, *_: object) -> None:
        return None
