"""Runs that were set aside: what ``--fresh`` has put beside the run that has taken their place, and their name."""

import re
from contextlib import suppress

from jobs.errors import LauncherError
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir

_NAME = re.compile(r"(?P<name>.+)\.\d{8}-\d{6}(?:-[0-9a-f]{4})?")


def name_aside(name: str, stamp: str) -> str:
    """What a run is called from then on; ``stamp`` is the time, ``20261129-115634``."""
    return f"{name}.{stamp}"


def was_set_aside(run: RunDir) -> bool:
    """As its name and its plan say; not where that cannot be read."""
    found = _NAME.fullmatch(run.name)
    with suppress(LauncherError, OSError):
        return found is not None and Plan.read(run.plan).name == found["name"]
    return False
