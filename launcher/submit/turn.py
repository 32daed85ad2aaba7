"""Turn: whether it is a run's turn: all runs that it comes after are complete, or go on and let it take what they have done.

Where it is not, or not for all of its samples, a note says how it is to be submitted then.
"""

from collections.abc import Mapping
from pathlib import Path

from jobs.errors import InputError, RunError
from jobs.kinds import RunState
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.upstreams import Upstream
from launcher.config.config import Config
from launcher.executors import choose_executor
from launcher.runs.downstream import Waiting
from launcher.runs.find import reference
from launcher.status.chain import Link
from launcher.status.reader import StatusReader


def blocking(run: RunDir) -> Link | None:
    """The run that one has to wait for; None where it may begin."""
    reader = StatusReader(run)
    return reader.read().chain.barrier if reader.plan.after else None


def refuse_early(run: RunDir) -> None:
    """Raises RunError where it may not begin yet."""
    if link := blocking(run):
        name, before = reference(run), reference(link.run)
        raise RunError(
            f"{run.path}: comes after {before}, {link.words}: `launcher status {name}` shows what to do about that; "
            f"`launcher submit {name}` has it submitted {link.turn}"
        )


def unfinished(run: RunDir, *, overlapping: bool = False) -> list[RunDir]:
    """The runs before it that are not complete; of these the one that it overlaps with alone."""
    plan = Plan.read(run.plan)
    upstream, before = Upstream.of(plan), [RunDir(Path(path)) for path in plan.after]
    if overlapping:
        before = [upstream.directory] if upstream and upstream.overlaps else []
    return [one for one in before if StatusReader(one).read().state is not RunState.COMPLETE]


def note(run: RunDir, config: Config, before: RunDir, options: Mapping[str, str] | None = None) -> None:
    """Has a run submitted, as far as it is not done, by whoever completes the one ``before`` it.

    ``options`` of a scheduler are those of another environment than this one.
    """
    executor = choose_executor(config.executor)
    # What this shell says holds, not that of a node: its variables, and whether there is a scheduler.
    mapping = {**config.to_mapping(), "executor": executor.name}
    asked = executor.resources(config).options if options is None else options
    waiting = Waiting(str(run.path.absolute()), mapping, config.profiles, dict(asked))
    try:
        waiting.write(before)
    except OSError as error:
        raise InputError(
            f"{error.filename}: {error.strerror}; so {reference(run)} cannot wait for {reference(before)}: "
            "submit it when that is complete"
        ) from None
