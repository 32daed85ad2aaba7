"""OldRun: a run of a version that kept files for each shard, as those who read it, and those who go on with it, have it.

Readers have the journals of its attempts (old_shards.py) in a temporary folder, and leave the run as it is. The first new
submission writes them into the run, for good, and sets the plan's format, so that older versions leave it alone.

What reads old files is imported where there are some: few runs are that old, and it would take a tenth of the start of all.
"""

import atexit
import dataclasses
import json
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from jobs.storage import checked_json
from jobs.storage.files import exists, write_once
from jobs.storage.plans import FORMAT, OLD_FORMATS, Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans


def import_run(run: RunDir) -> None:
    """Makes an old run one of this version; does nothing where it is one.

    What array tasks of the old version commit from now on is not seen: its rows are done again. Of several launchers that
    do this at once each writes the same, whole files; the plan's format, which is the last of them, says that all are there.
    """
    plan = Plan.read(run.plan)
    if plan.format not in OLD_FORMATS:
        return
    from jobs.storage.old_shards import write_attempts

    run.make()
    layout = write_attempts(run, plan, run.attempts, os.path.relpath(run.old_shards, run.attempts), check=True)
    if layout:
        write_once(run.layout, checked_json.encode(layout.to_json()))
    dataclasses.replace(plan, format=FORMAT).write(run.plan)


class OldView:
    """An old run for readers: journals of its attempts in a temporary folder, made anew when a shard's journal has grown."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._seen: tuple[Any, ...] = ()
        self._folder: Path | None = None
        self._is_imported = False

    def folder(self) -> Path | None:
        """Another one each time that it was made anew; None where the run has been imported."""
        if not self._is_imported and (seen := _state(self._run)) != self._seen:
            self._seen = seen
            self._remake()
        return self._folder

    def _remake(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder)
            self._folder = None
        plan = Plan.read(self._run.plan)
        self._is_imported = plan.format not in OLD_FORMATS
        if not self._is_imported:
            from jobs.storage.old_shards import write_attempts

            self._folder = Path(tempfile.mkdtemp(dir=_temporary_folder()))
            write_attempts(self._run, plan, self._folder, str(self._run.old_shards.absolute()), check=False)


def _state(run: RunDir) -> tuple[Any, ...]:
    """Something else when the plan or an old journal has changed, or a shard's file has got its last name."""
    plan = run.plan.stat()
    with os.scandir(run.old_shards) as entries:
        sizes = {e.name: e.stat().st_size if e.name.endswith(".journal") else 0 for e in entries}
    return plan.st_ino, plan.st_mtime_ns, sizes


@cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="launcher-old-run-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def old_view(run: RunDir) -> OldView | None:
    """One a process and run; None where the run has no old files."""
    return OldView(run) if exists(run.old_shards) else None


def old_log_paths(run: RunDir, shards: Spans) -> list[Path]:
    """The logs that may hold text of shards: an old array task wrote into that of the first shard which it had."""
    firsts: dict[Path, None] = {}
    for number in run.submission_numbers():
        groups = json.loads(run.submission(number).read_text()).get("groups", ())
        firsts |= {
            run.logs / f"{group[0]:06d}.log": None for group in groups if any(shard in shards for shard in group)
        }
    return [path for path in firsts if path.exists()]
