"""Job: the base class of what users run, its context, and how an importable path becomes one.

Subclassed by users and by the built-in jobs; resolved by the planner (to check it) and by processes and pool workers.
"""

import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from jobs import extras, job_folder
from jobs.errors import InputError, described
from jobs.parameters import arguments, note, signature
from jobs.stacked import stack_arrays
from jobs.storage.records import JobSpec
from jobs.tensors import can_be_stacked, is_tensor, stack_tensors

__all__ = [
    "Context",
    "Job",
    "has_reduce",
    "job_class",
    "make_job",
    "needed_columns",
    "sets_up_workers",
    "stack",
    "takes_samples",
]


@dataclass(frozen=True)
class Context:
    """Where a Job runs.

    ``device`` is a torch device string ("cpu", "cuda:0"); ``process_index`` counts the processes of the array task;
    ``worker_index`` counts the pool workers of the process, None in the process itself. ``scratch`` is a folder of the
    node that is removed at the end of the task or, where that was killed, by your next task there. ``seed`` is the run's;
    before every batch, the generators of Python, numpy and torch are seeded from it and the batch's first row.
    ``in_flight`` is how many samples of the process are under way at a time, where the Job has ``process_sample``. ``devices``
    are all that the process has: several GPUs with ``node.gpus_per_process``, which then are the only ones that it sees.
    """

    device: str
    process_index: int
    worker_index: int | None
    scratch: Path
    seed: int
    in_flight: int = 1
    devices: tuple[str, ...] = ()


class Job:
    """Base class; a subclass needs ``process`` or ``process_sample``, and most have ``load`` and ``setup``.

    The class's keyword arguments are ``job.params`` of the config. One object is made in each process and each pool
    worker; nothing is shared between them. The class's module is imported once on a node, and all processes are forked
    from there, so that it may ask if there is a GPU but must not use one before ``setup``. Whatever it starts, programs and
    processes in sessions of their own too, is ended with the process or pool worker that started it.
    """

    preload: ClassVar[tuple[str, ...]] = ()
    """Modules that are imported once on each node before processes are forked (torch takes a second each time else)."""
    param_files: ClassVar[tuple[str, ...]] = ()
    """Parameters that name a file or folder which decides the results (weights): with another, a run does not go on."""

    counts: ClassVar[tuple[str, ...]] = ()
    """Outputs whose sums the run's status tells, and how fast they grow: numbers of tokens. Of lists, their lengths count."""

    # Not for type checkers, which would take it that every Job takes every argument.
    if not TYPE_CHECKING:

        def __new__(cls, *given: Any, **named: Any) -> Self:
            """Notes what the Job is made with: launcher.plan makes a run of that."""
            if (given or named) and cls.__init__ is object.__init__:
                raise TypeError(f"{cls.__name__}() takes no arguments")
            new = super().__new__
            made = new(cls) if new is object.__new__ else new(cls, *given, **named)
            note(made, given, named)
            return made

    def manifest_columns(self) -> Collection[str]:
        """Columns of the manifest without which ``load`` fails: a run whose manifest lacks one is refused when it is planned.

        A subclass with a ``load`` of its own says which it needs by a ``manifest_columns`` of its own.
        """
        return ()

    def setup_worker(self, context: Context) -> None:
        """Called once in each pool worker (a tokenizer, a decoder); in the process where there are no workers."""

    def load(self, sample: Any) -> Any:
        """One manifest row, a Sample -> an item; raising fails that sample alone. Default: the row as a dict.

        In a Hierarchy the samples are what its caller has, of any type. All items of a batch are collated together, so each
        needs memory of its own: a buffer that is filled again for the next sample has to be copied.

        It may be ``async def``: then the samples of a batch are loaded concurrently in one event loop, and it is for
        the Job to limit how many at a time, and how long each may wait. Random numbers drawn in it are not repeatable.
        """
        return dict(sample)

    def collate(self, items: list[Any]) -> Any:
        """Items -> batch, in the pool worker. Default: stacks arrays, also inside dicts and tuples."""
        return stack(items)

    def setup(self, context: Context) -> Awaitable[None] | None:
        """Called once in each process (a model on ``context.device``).

        With ``process_sample`` it may be ``async def``, and so may ``teardown``: both run in the event loop of the samples.
        """
        return None

    def process(self, batch: Any) -> dict[str, Any]:
        """A batch -> {output name: array, tensor or list}, first axis = the batch.

        The batch is the Job's until ``process`` returns; then its arrays and tensors lie in memory that the next batch is
        written into. Copy what you keep of it. (``node.poison_batches: true`` makes what was not copied -1 or NaN.) What
        is returned is read before the next call, so that it may be a buffer that is used again.
        """
        raise NotImplementedError(f"{type(self).__name__} has no process method")

    async def process_sample(self, item: Any, seed: int) -> dict[str, Any]:
        """Instead of ``process``: what ``load`` made of one sample -> {output name: value}; for what waits long, and unevenly.

        ``node.in_flight`` samples of the process run at a time, all in the event loop of its main thread; each has a
        time-out and a failure of its own, and its row is stored soon after it is done. ``seed``, 31 bits, is the row's, the
        same each time. By type alone, a number, text and bytes are stored as in a list of ``process``, an array is of one
        shape in all samples, and a list of numbers may be of any length. There is no ``collate``, and random generators are
        not seeded, since samples interleave. Raising ``jobs.errors.ProcessBroken`` replaces the process.
        """
        raise NotImplementedError(f"{type(self).__name__} has no process_sample method")

    def reduce(self, state: Any, block: dict[str, Any]) -> Any:
        """Optional fold at gather: called with the state (None at first) and blocks of results in manifest order.

        A block is one batch of the plan, without its failed samples: output name -> array (ragged: list of arrays, str
        or bytes), and "index" -> rows of the result, int64. Batches without an ok sample are left out. Of several
        manifests each is folded by itself.
        """
        raise NotImplementedError

    def finish(self, state: Any) -> dict[str, Any]:
        """Optional: the last state -> {name: array}, stored under /summary. Without it the state is that dict itself."""
        raise NotImplementedError

    def teardown(self) -> Awaitable[None] | None:
        """Ends what ``setup`` has begun, once in each process that ends in order; not where ``setup`` has raised.

        Of a Job with a ``setup_worker`` it is called in each pool worker as well, to end what that has begun. It may take 30
        seconds, two where the task has to leave; then it is cut off. Its samples are stored by then: that it is cut off,
        or raises, is told in the log and fails nothing.
        """
        return None


def stack(items: Sequence[Any], join: Callable[[Sequence[np.ndarray]], Any] = stack_arrays) -> Any:
    """Stacks arrays, tensors and numbers along a new first axis, inside dicts, tuples and lists too; the rest is a list.

    ``join`` stacks arrays. Raises ValueError where shapes or keys differ, or where no dtype holds all values as they are.
    """
    first = items[0]
    if isinstance(first, dict):
        if any(item.keys() != first.keys() for item in items):
            raise ValueError("collate: items have different keys")
        return {key: stack([item[key] for item in items], join) for key in first}
    if isinstance(first, tuple | list):
        columns = [stack(column, join) for column in zip(*items, strict=True)]
        if hasattr(first, "_make"):
            return type(first)._make(columns)  # a named tuple keeps its names
        return tuple(columns) if isinstance(first, tuple) else columns
    if is_tensor(first) and can_be_stacked(first):
        return stack_tensors(items)
    if isinstance(first, np.ndarray):
        return join(items)
    if isinstance(first, np.generic | int | float | complex):
        return stack_arrays([np.asarray(item) for item in items])
    return list(items)


def has_reduce(job: Job) -> bool:
    """Whether the Job folds its results at gather."""
    return type(job).reduce is not Job.reduce


def sets_up_workers(job: Job) -> bool:
    """Whether pool workers of the Job have been set up, and so have something to tear down."""
    return type(job).setup_worker is not Job.setup_worker


def takes_samples(cls: type[Job]) -> bool:
    """Whether the Job has ``process_sample`` in the place of ``process``; raises InputError where it has parts of both."""
    if cls.process_sample is Job.process_sample:
        if inspect.iscoroutinefunction(cls.setup):
            raise InputError(f"job.class: {cls.__name__}.setup is `async def`, which goes with process_sample only")
        return False
    for name in ("process", "collate"):
        if getattr(cls, name) is not getattr(Job, name):
            raise InputError(
                f"job.class: {cls.__name__} has {name} and process_sample, which takes samples one by one: keep one of them"
            )
    if not inspect.iscoroutinefunction(cls.process_sample):
        found = "an async generator" if inspect.isasyncgenfunction(cls.process_sample) else "a plain function"
        raise InputError(
            f"job.class: {cls.__name__}.process_sample is {found}; valid: `async def process_sample` that returns outputs"
        )
    return True


def needed_columns(job: Job) -> Collection[str]:
    """What ``Job.manifest_columns`` says, if it is of the class that ``load`` is of, or of a subclass of that."""
    owner = next(cls for cls in type(job).__mro__ if {"load", "manifest_columns"} & vars(cls).keys())
    return job.manifest_columns() if "manifest_columns" in vars(owner) else ()


_NAMES = {
    "counts": "outputs, such as ('tokens',)",
    "param_files": "parameters, such as ('model',)",
    "preload": "modules, such as ('torch',)",
}


def names_of(cls: type[Job], attribute: str) -> tuple[str, ...]:
    """``counts``, ``param_files`` or ``preload`` of a Job, as plain text: an enum's are of a class that the supervisor has not.

    Raises InputError for a text alone, of which each letter would be a name, as for anything else.
    """
    names = getattr(cls, attribute)
    if isinstance(names, str) or not isinstance(names, Collection) or not all(isinstance(one, str) for one in names):
        raise InputError(f"job.class: {cls.__name__}.{attribute} is {names!r}; valid: names of {_NAMES[attribute]}")
    return tuple(map(str.__str__, names))


def job_class(spec: JobSpec) -> type[Job]:
    """Imports the class; raises InputError saying what is wrong. ``spec.folders`` go on the import path, last."""
    module_name, _, class_name = spec.path.partition(":")
    if not module_name or not class_name:
        raise InputError(f"job.class: {spec.path!r} is not an importable path; valid: package.module:ClassName")
    job_folder.make_room(spec.folders)
    try:
        module = job_folder.import_module(module_name)
    except SystemExit as error:
        raise InputError(f"job.class: {spec.path}: its module calls sys.exit({error.code!r}) when imported") from error
    except Exception as error:  # whatever the user's module raises at import is a problem of the input
        raise InputError(
            f"job.class: cannot import {module_name!r} {_why(error, module_name, spec.folders)}"
        ) from error
    found: Any = module
    for name in class_name.split("."):  # Outer.Inner
        found = getattr(found, name, None)
    if isinstance(found, type) and issubclass(found, Job):
        return found
    classes = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Job) and c is not Job]
    valid = ", ".join(sorted(c.__name__ for c in classes)) or f"none in {module.__name__}; subclass jobs.job.Job"
    hider = job_folder.what_hides(module.__name__, spec.folders)
    hint = f". {hider}" if hider else ""
    raise InputError(f"job.class: {spec.path!r} is not a subclass of jobs.job.Job; the module's Jobs: {valid}{hint}")


def _why(error: Exception, module: str, folders: Sequence[str]) -> str:
    """Why a module cannot be imported: it is not there, or something in it, or in what it imports, is wrong; and where."""
    what, hider = described(error), job_folder.what_hides(module, folders)
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and f"{module}.".startswith(f"{missing}."):
        searched = " and ".join(["the Python path", *folders])
        return f"({what}). {hider or f'Searched: {searched}'}"
    advice = extras.advice(error)
    if missing and not advice and not hider:
        advice = f"; install what has {missing.partition('.')[0]!r} into {sys.prefix}"
    place = job_folder.place(error)
    return f"({what}{advice}){place and f', at {place}'}{(hider and f'. {hider}') or ''}"


def make_job(spec: JobSpec) -> Job:
    """An object of the class with its params; raises InputError where the class does not take them."""
    cls = job_class(spec)
    takes_samples(cls)
    for attribute in _NAMES:
        names_of(cls, attribute)
    known = signature(cls)
    try:
        known.bind(**spec.params)
    except TypeError as error:
        valid = ", ".join(known.parameters) or "none"
        raise InputError(f"job.params: {spec.path}: {error}; valid: {valid}") from None
    try:
        # As in array tasks, where relative paths start in the config's folder, whoever plans or gathers from where.
        with job_folder.working(spec.folder if spec.folder and os.path.isdir(spec.folder) else os.curdir):
            return cls(**arguments(cls, spec.params))
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # the user's constructor refuses its parameters
        place = job_folder.place(error)
        raise InputError(f"job.params: {spec.path}: {described(error)}{place and f' ({place})'}") from error
