"""Clean: removes what a complete run does not need any more, once every byte of its result is checked against the journals.

The journals stay: they say what was stored, with a hash of each block, so that status, errors and verify go on as before.
First it is written down that the data go (cleaned.json), then they do: killed on its way, the next one goes on.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import DamageError, InputError, LauncherError, RunError
from jobs.gather.new_result import NewResult
from jobs.gather.result_index import give_names, remove_unfinished
from jobs.kinds import RunState
from jobs.storage.attempts import Attempts, read_head
from jobs.storage.files import exists, server_time
from jobs.storage.old_run import import_run
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.delivery.store_check import verify_results
from launcher.runs.cleaned import Cleaned
from launcher.runs.find import reference
from launcher.runs.going_on import going_on
from launcher.runs.result_place import result_places
from launcher.runs.submissions import chosen_form, read_submissions
from launcher.status.reader import StatusReader
from launcher.submit.downstream import readers_of

Progress = Callable[[int, int], None]

# A temporary file that was written to in so many seconds may be somebody's who is about to name it.
_AT_WORK = 3600.0


@dataclass(frozen=True)
class Waste:
    """What can go: data of attempts, what killed processes have left, and logs where these are asked for."""

    data: tuple[Path, ...]
    left_behind: tuple[Path, ...]
    logs: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        return (*self.data, *self.left_behind, *self.logs)


def find_waste(run: RunDir, *, logs: bool) -> Waste:
    """What can go of a run. Raises InputError where it is not complete, or needs its data; RunError while it goes on."""
    submissions = read_submissions(run)
    if numbers := sorted(going_on(run, submissions)):
        raise RunError(f"{run.path}: submission {numbers[0]} goes on; when it has ended, the run can be cleaned")
    status = StatusReader(run).read()
    if status.state is not RunState.COMPLETE:
        raise InputError(
            f"{run.path}: is {status.state}, so what it has stored is needed; see: launcher status {reference(run)}"
        )
    if chosen_form(submissions).format:
        raise InputError(
            f"{run.path}: its result is in the format of another program (output.format), so all that the launcher reads is "
            "what its attempts have stored, and nothing can go"
        )
    if status.in_place:
        raise InputError(
            f"{run.path}: has no result but what its attempts have stored (output.gather: false), so nothing can go; "
            f"with a result it can: launcher gather {reference(run)}"
        )
    _refuse_read(run)
    return Waste(
        tuple(path for path in _data(run) if path.exists()),
        tuple(_left_behind(run)),
        (*sorted(run.logs.glob("*.log")), *sorted(run.submissions.glob("*.log"))) if logs else (),
    )


def _refuse_read(run: RunDir) -> None:
    if readers := readers_of(run):
        names = ", ".join(map(reference, readers))
        raise InputError(f"{run.path}: has to stay as it is until what is made of it is complete: {names}")


def _data(run: RunDir) -> list[Path]:
    """All data files, also those of no journal; none that a journal has somewhere else."""
    named = (path.resolve() for attempt in Attempts(run).read() for path in read_head(attempt).files.values())
    own = (run.attempts.resolve(), run.old_shards.resolve())
    found = {*named, *(path.resolve() for path in run.attempts.glob("*.data"))}
    return sorted(path for path in found if path.parent in own)


def _left_behind(run: RunDir) -> Iterator[Path]:
    """Temporary files at which nobody is any more; not the manifest of a plan that has just grown."""
    needed, now = Plan.read(run.plan).manifest_file(run), server_time(run.path)
    for folder in (run.path, run.attempts, run.submissions):
        for path in sorted(folder.glob(".*.tmp")):
            with suppress(FileNotFoundError):  # its writer has given it its name
                if path.is_file() and path != needed and now - path.stat().st_mtime > _AT_WORK:
                    yield path
    yield from sorted(path for path in run.outgoing.rglob("*") if path.is_file())


def clean(run: RunDir, waste: Waste, progress: Progress | None = None) -> int:
    """Checks the result, and removes that; returns how many bytes it was. Raises DamageError where the result is not right."""
    import_run(run)  # an older version's journals do not say where the bytes of a batch are by themselves
    submissions, plan = read_submissions(run), Plan.read(run.plan)
    places = result_places(run, plan, submissions)
    with ExitStack() as stack:
        # Nobody gathers meanwhile, and what was left of a gather goes.
        made = {lock: stack.enter_context(NewResult(lock)) for lock in {place.lock for place in places}}
        for place in places:
            give_names(place.path)
            if made[place.lock].has_locks:
                remove_unfinished(place.path)
        report = verify_results(run, submissions, progress)
        if not report.ok or report.result is None:
            raise DamageError(
                f"{run.path}: not all of it is intact, so nothing was removed: launcher verify {reference(run)}"
            )
        _write_down(run, [one.number for one in submissions], tuple(place.seal or "" for place in places))
        return _remove(waste.files)


def _write_down(run: RunDir, submissions: Sequence[int], seals: tuple[str, ...]) -> None:
    """From here on nothing is computed in it: who submits looks for this when his submission can be seen, and we for that."""
    if exists(run.cleaned):  # by somebody who was killed then
        return
    Cleaned(time.time(), max(submissions, default=0), seals).write(run)
    try:
        if run.submission_numbers() != list(submissions) or StatusReader(run).read().state is not RunState.COMPLETE:
            raise RunError(f"{run.path}: something of it was started meanwhile, so nothing was removed")
        _refuse_read(run)  # again: what is made of it may have been started while it was checked
    except LauncherError:
        run.cleaned.unlink()
        raise


def _remove(files: Iterable[Path]) -> int:
    """How many bytes of disk these were."""
    freed = 0
    for path in files:
        try:
            size = path.stat().st_blocks * 512
            path.unlink()
        except FileNotFoundError:
            continue
        freed += size
    return freed
