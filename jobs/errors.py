"""The exceptions of the project: what they mean, and which one a caller can rely on.

Those of both packages. The tree::

    LauncherError                 something that the user can read and act on
    ├── InputError                bad arguments, config, manifest or Job class: exit code 2
    ├── RunError                  the run cannot go on as asked (not planned, not complete, still running)
    │   ├── BusyError             another process is making the same result
    │   ├── ConflictError         another launcher has changed the run meanwhile
    │   └── IncompleteError       samples are missing, and the caller did not allow that
    ├── DamageError               bytes on disk differ from what a journal says was written
    ├── OutputError               a Job returned something that cannot be stored, or that differs from its first batch
    ├── ProcessBroken             raised by a Job: its process can do no more; no sample is at fault
    └── SampleFailed              one sample of a Hierarchy failed

``str(error)`` is the whole message: what, where, what is valid, what to do.
"""

from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "BusyError",
    "ConflictError",
    "DamageError",
    "IncompleteError",
    "InputError",
    "LauncherError",
    "OutputError",
    "ProcessBroken",
    "RunError",
    "SampleFailed",
]


def words(error: BaseException) -> str:
    """What an exception says. Those of a Job are the user's code, and may raise when they are asked.

    It is a plain str, which says the same wherever it goes; one of a class derived from it might not.
    """
    try:
        return str.__str__(str(error))
    except (Exception, SystemExit) as problem:
        return f"(its text cannot be told: __str__ raised {type(problem).__name__})"


def a_type(value: object) -> str:
    """What a value is: ``an int``, ``a dict``, ``an object``."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def described(error: BaseException) -> str:
    """``ValueError: what it says``; of a group, what its errors say as well."""
    said = f"{type(error).__name__}: {words(error)}"
    if isinstance(error, BaseExceptionGroup):
        said += f": {'; '.join(map(described, members(error)))}"
    return said


def members(error: BaseException) -> Iterator[BaseException]:
    """The errors that a group is made of, as asyncio.TaskGroup raises them; of any other error that one alone."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from members(one)
    else:
        yield error


class LauncherError(Exception):
    """Base class; its text is meant for the user, without a traceback."""


class InputError(LauncherError):
    """Bad input by the user; the command line exits with 2."""


class RunError(LauncherError):
    """The run cannot go on as asked; the command line exits with 1."""


class BusyError(RunError):
    """Another process is making this result now, at ``path``."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path

    def look(self) -> object:
        """Something else whenever that process has written; None where the file is gone."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_blocks


class ConflictError(RunError):
    """Another launcher has changed the run meanwhile; what was to be done may be done already."""


class IncompleteError(RunError):
    """The result lacks samples and the caller did not allow that."""


class DamageError(LauncherError):
    """Bytes on disk are not those that were committed."""


class OutputError(LauncherError):
    """The outputs of a Job cannot be stored, or differ in name, dtype or shape from the first batch."""


class ProcessBroken(LauncherError):
    """Raised by a Job whose process can do no more (its engine has died, its device hangs): no sample is at fault.

    The process is replaced, and what it had in work is done again.
    """


class SampleFailed(LauncherError):
    """One sample of a Hierarchy failed.

    ``kind`` is LOAD, PROCESS, CRASH, SAMPLE_TIMEOUT or OUT_OF_MEMORY; ``index`` counts the samples from 0;
    ``traceback`` is the text of the traceback in the worker, empty where there is none.
    """

    def __init__(self, kind: str, message: str, index: int, traceback: str = "") -> None:
        super().__init__(f"sample {index} failed ({kind}): {message}")
        self.kind = kind
        self.message = message
        self.index = index
        self.traceback = traceback
        if traceback:
            self.add_note(f"In the worker:\n{traceback}")

    def __reduce__(self) -> tuple[type["SampleFailed"], tuple[str, str, int, str]]:
        return SampleFailed, (self.kind, self.message, self.index, self.traceback)
