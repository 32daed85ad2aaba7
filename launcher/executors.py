"""Executor: what runs the array tasks of a submission: this machine, or a scheduler. Found by name in one table.

An executor only executes: which rows, with which settings, is in the Submission; what is tried again, and when the
result is written, is decided in retry.finalize, which an executor calls once all tasks of a submission have ended.
Whatever a command has to know of a scheduler it asks an Executor; tests/launcher/executor_tests.py is what each must pass.
"""

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from jobs.errors import RunError
from jobs.kinds import AnyFailureKind
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Resources, Submission

if TYPE_CHECKING:
    from launcher.config.config import Config


@dataclass(frozen=True)
class Observation:
    """What an executor still has: numbers of submissions, and how many entries of its queue are in a (state, reason)."""

    active: frozenset[int] = frozenset()
    entries: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """How large a run may get, for probe's advice.

    ``at_a_time``: array tasks that run at a time on this machine; None: a scheduler decides. ``largest_array``: array tasks
    of one submission; ``largest_queue``: of this user, waiting and running. ``unknown`` says why these two are defaults.
    """

    at_a_time: int | None = None
    largest_array: int = 1001
    largest_queue: int = 10_000
    unknown: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that doctor has found. ``lacks``: what is missing for what, and what happens instead.

    ``is_needed``: without it there is no run.
    """

    name: str
    text: str
    lacks: str = ""
    is_needed: bool = False


class Scripts(Protocol):
    """Scripts by which a person could start submissions by hand."""

    def write(self, run: RunDir, submission: Submission) -> Path:
        """Writes the script of a submission; returns its path."""

    def check(self, script: Path) -> str | None:
        """What the scheduler says of a script, in a line; None where it is not here. Raises InputError for a refusal."""


class Executor(Protocol):
    """The local machine, or a scheduler. Made without arguments; all that it remembers is in run directories."""

    name: str
    """In the table, in configs and in submissions/NNNN.json."""
    title: str
    """What people call it."""
    stops_with_launcher: bool
    """Whether the array tasks end when `launcher run` does."""
    has_limits: bool
    """Whether array tasks are given so much memory and time, for which they ask."""
    is_polled: bool
    """Whether jobs can get lost without a word in the run directory, so that whoever follows the run observes now and then."""
    advice: Mapping[AnyFailureKind, str]
    """Failure kind -> what the user can do, where that is not what runs.causes says; with its fields."""
    scripts: Scripts | None
    """None where there is nothing that a person could submit."""

    # --- before anything is submitted

    def check(self, config: "Config") -> None:
        """Raises InputError for what its array tasks cannot have, as far as that is known before any is asked for."""

    def prepare(self, config: "Config") -> None:
        """Something with this config is going to be submitted, after a while."""

    def tasks(self, config: "Config", shards: int) -> int:
        """How many array tasks a submission of so many shards gets, all limits considered; at least one."""

    def resources(self, config: "Config") -> Resources:
        """What each array task gets, for Submission.resources."""

    def describe(self, config: "Config") -> list[str]:
        """The resources and limits in words, for `plan`."""

    def remarks(self, config: "Config") -> list[str]:
        """What a person may want to change before it runs; `plan`, and what submits, say it."""

    def limits(self, config: "Config", room: int) -> Limits:
        """For probe; ``room`` is how many array tasks this machine has room for at a time."""

    def visible_gpus(self, config: "Config", here: int) -> int | None:
        """How many of ``here`` GPUs an array task would be shown; None: all. Raises InputError where it wants more."""

    def limit_overrides(self, memory: str | None, time: str | None) -> list[str]:
        """Overrides of the config (key=value) that give array tasks so much; raises InputError where they have no limits."""

    def examine(self, config: "Config") -> Sequence[Finding]:
        """What is to be known of it here, for doctor: in seconds, also where a scheduler does not answer."""

    # --- submissions

    def start(self, run: RunDir, submissions: Sequence[Submission], *, attached: bool) -> list[Submission]:
        """Starts submissions that are written already; returns at once, with their ids added and written.

        ``attached``: the tasks leave when this process dies, where the executor can do that.
        """

    def end_attended(self, run: RunDir, done: Collection[int], *, ask: bool) -> bool:
        """Of submissions that no job of the scheduler ends, ends those all of whose rows are done, and starts what follows.

        ``ask``: with one question, also those of which the scheduler has no array task any more; and what it did not take
        before is tried again. Returns whether anything ended or was started.
        """
        return False

    def place(self, submission: Submission) -> str:
        """Where a started submission is, in words: its ids, or what it waits for."""

    def recover(self, run: RunDir, submissions: Sequence[Submission]) -> set[int]:
        """Mends what a launcher that was killed left half done; returns the numbers of those that go on.

        These are what runs, waits, retries or gathers. It may ask the scheduler, once.
        """

    def observe(self, run: RunDir, submissions: Sequence[Submission]) -> Observation:
        """Which go on, and what the queue says; changes nothing. One question to the scheduler, none without submissions."""

    def queue_advice(self, reason: str) -> str | None:
        """What a person can do about entries of its queue that wait for this reason; None where it passes by itself.

        It has the field run, as the advice of causes has.
        """

    def without_nodes(self, nodes: Sequence[str]) -> str | None:
        """Flags of a command that keep array tasks off these nodes; None where that cannot be chosen."""
        return None

    def cancel(self, run: RunDir, submission: Submission) -> bool:
        """Stops it and waits until its tasks are gone; False where nothing ran. A second call at once hurries it.

        Raises RunError where that does not happen in time or cannot be done from here.
        """


class Registered(NamedTuple):
    """An executor of the table, and what is asked of it too often to import it: ``path`` is module:Class.

    ``command``: auto takes it where this is found (None: always). ``restarts_tasks``: an array task that died may be started
    again within its submission, so that an attempt without an end may go on.
    """

    path: str
    command: str | None
    restarts_tasks: bool


# Imported when they are used. "auto" takes the first that is here.
EXECUTORS = {
    "slurm": Registered("launcher.slurm.slurm_executor:SlurmExecutor", "sbatch", restarts_tasks=True),
    "local": Registered("launcher.local.local_executor:LocalExecutor", None, restarts_tasks=False),
}
AUTO = "auto"


def choose_executor(name: str) -> Executor:
    """The executor of a config (auto, or a name of the table) or of a submission. Raises RunError for an unknown name."""
    if name == AUTO:
        name = next(key for key, entry in EXECUTORS.items() if entry.command is None or shutil.which(entry.command))
    if name not in EXECUTORS:
        raise RunError(f"no executor {name!r}; there are {', '.join(EXECUTORS)}: was this written by another version?")
    module, _, attribute = EXECUTORS[name].path.partition(":")
    return cast(Executor, getattr(import_module(module), attribute)())
