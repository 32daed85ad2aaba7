"""Layouts: the outputs' names and forms of a run, in layout.json, as its first batch had them.

Where that batch had nothing but empty lists of an output, the first one with values adds a file with what it knows more. The
journals of attempts repeat it all, so it can be made anew where it is damaged or gone.
"""

import itertools
from pathlib import Path

from jobs.errors import RunError
from jobs.storage import checked_json
from jobs.storage.attempts import Attempts, known_layout
from jobs.storage.files import intact, write_bytes, write_once
from jobs.storage.records import Layout
from jobs.storage.rundir import RunDir


def read_layout(run: RunDir) -> Layout | None:
    """None where nobody had a batch yet. Raises RunError where it is damaged."""
    return _read_all(run)[0]


def recall(run: RunDir) -> Layout | None:
    """The same where layout.json is damaged or gone, by what the journals repeat."""
    try:
        layout = read_layout(run)
    except RunError:
        layout = None
    return layout or known_layout(Attempts(run).read())


def _read_all(run: RunDir) -> tuple[Layout | None, Path]:
    """What is known, and the file that what is not goes into: each says more than the one before it."""
    layout = None
    for path in run.layouts:
        if layout and not layout.is_open:
            break
        try:
            layout = intact(path, _read, f"launcher rerun {run.argument} writes it anew")
        except FileNotFoundError:
            break
    return layout, path


def _read(path: Path) -> Layout:
    return Layout.from_json(checked_json.decode(path.read_bytes()))


def agree(run: RunDir, layout: Layout) -> Layout:
    """The run's layout: this one, if it is the first, or says more. Raises RunError where it is damaged again and again."""
    try:
        return _agree(run, layout)
    except RunError:
        restore(run)
        return _agree(run, layout)


def _agree(run: RunDir, layout: Layout) -> Layout:
    while True:
        agreed, path = _read_all(run)
        more = agreed.joined(layout.outputs) if agreed else layout
        if more is None or more == agreed:
            return agreed or layout
        write_once(path, _encode(more))


def restore(run: RunDir) -> None:
    """Makes layout.json what attempts have that stored something, where it says less, or something else.

    Where it is damaged and none has one either, nothing that is stored can be read: the next batch is the first again. Where
    it says more, an attempt that goes on has just found that, and others may have it from there.
    """
    layout = known_layout(Attempts(run).read())
    try:
        there = read_layout(run)
        is_known = layout is None or (there is not None and there.joined(layout.outputs) == there)
    except RunError:
        is_known = False
    if is_known:
        return
    forget(run)
    if layout:
        write_bytes(run.layout, _encode(layout))


def forget(run: RunDir) -> None:
    """What was found is not the run's any more."""
    # The last one first: after a kill none is left alone, to be found once there is a first one again.
    for path in reversed(list(itertools.takewhile(Path.exists, run.layouts))):
        path.unlink()


def _encode(layout: Layout) -> bytes:
    return checked_json.encode(layout.to_json())
