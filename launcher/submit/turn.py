"""Turn: whether it is a run's turn: all runs that it comes after are complete."""

from jobs.errors import RunError
from jobs.storage.rundir import RunDir
from launcher.runs.find import reference
from launcher.status.chain import Link
from launcher.status.reader import StatusReader


def blocking(run: RunDir) -> Link | None:
    """The run that one has to wait for; None where it may begin."""
    reader = StatusReader(run)
    return reader.read().chain.blocking if reader.plan.after else None


def refuse_early(run: RunDir) -> None:
    """Raises RunError where a run before this one is not complete."""
    if link := blocking(run):
        name, before = reference(run), reference(link.run)
        raise RunError(
            f"{run.path}: comes after {before}, {link.words}: `launcher status {name}` shows what to do about that; "
            f"`launcher submit {name}` has it submitted once that is complete"
        )
