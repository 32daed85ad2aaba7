"""Layouts: the outputs' names and forms of a run, in layout.json, as its first batch had them.

The journals of attempts repeat it, so it can be made anew where it is damaged or gone.
"""

from pathlib import Path

from jobs.errors import RunError
from jobs.storage import checked_json
from jobs.storage.attempts import Attempts, first_layout
from jobs.storage.files import intact, write_bytes, write_once
from jobs.storage.records import Layout
from jobs.storage.rundir import RunDir


def read_layout(run: RunDir) -> Layout | None:
    """None where nobody had a batch yet. Raises RunError where it is damaged."""
    try:
        return intact(run.layout, _read, f"launcher rerun {run.path} writes it anew")
    except FileNotFoundError:
        return None


def _read(path: Path) -> Layout:
    return Layout.from_json(checked_json.decode(path.read_bytes()))


def agree(run: RunDir, layout: Layout) -> Layout:
    """The layout of the run: this one, if it is the first. Raises RunError where it is damaged again and again."""
    try:
        write_once(run.layout, _encode(layout))
        return read_layout(run) or layout
    except RunError:
        restore(run)
        write_once(run.layout, _encode(layout))
        return read_layout(run) or layout


def restore(run: RunDir) -> None:
    """Makes layout.json what attempts have that stored something, where it is not.

    Where it is damaged and none has one either, nothing that is stored can be read: the next batch is the first again.
    """
    layout = first_layout(Attempts(run).read())
    try:
        is_known = read_layout(run) == layout or layout is None
    except RunError:
        is_known = False
    if is_known:
        return
    if layout:
        write_bytes(run.layout, _encode(layout))
    else:
        run.layout.unlink(missing_ok=True)


def _encode(layout: Layout) -> bytes:
    return checked_json.encode(layout.to_json())
