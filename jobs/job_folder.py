"""The config's folder as a place to import a Job from: last on Python's path, so that nothing in it hides anything.

Its modules may be hidden, then. Those of a folder ``jobs`` in it are not, though our package has that name: they are looked
for behind ours.
"""

import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import chdir, contextmanager
from importlib.util import find_spec
from types import ModuleType

import jobs
from jobs.monkey_patches import refusing_patches

_PACKAGES = {"site-packages", "dist-packages"}
_NOT_THEIRS = (f"{os.path.dirname(os.__file__)}/", f"{os.path.dirname(os.path.dirname(__file__))}/jobs/")

added: set[str] = set()
"""The folders that this process has put on Python's path."""


def put_on_path(folders: Iterable[str]) -> None:
    """So that a Job, and what its module imports, is found there; a second time changes nothing."""
    for folder in folders:
        if folder not in sys.path:
            sys.path.append(folder)
            added.add(folder)
        theirs = beside_ours(folder)
        if theirs and theirs not in jobs.__path__:
            jobs.__path__.append(theirs)


@contextmanager
def working(folder: str = os.curdir) -> Iterator[None]:
    """For users' code, in a folder; working directory and umask are then as they were: both decide of our own files.

    So is the timer: what is left running of it would end this process, which need not be an array task, without a word.
    """
    umask = os.umask(0o077)  # it can only be read by setting it
    os.umask(umask)
    try:
        with chdir(folder), without_timer():
            yield
    finally:
        os.umask(umask)


@contextmanager
def without_timer() -> Iterator[None]:
    """Stops what timer is set inside. One that runs out there raises TimeoutError, if there is no handler for it."""
    if any(signal.getitimer(signal.ITIMER_REAL)):  # of who calls this
        yield
        return
    is_main = threading.current_thread() is threading.main_thread()
    is_ours = is_main and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    if is_ours:
        signal.signal(signal.SIGALRM, _run_out)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if is_ours and signal.getsignal(signal.SIGALRM) is _run_out:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _run_out(number: int, frame: object) -> None:
    raise TimeoutError("its timer ran out (signal.alarm)")


def import_module(name: str) -> ModuleType:
    """The user's module."""
    with working(), refusing_patches():
        return importlib.import_module(name)


def make_room(folders: Sequence[str]) -> None:
    """Puts folders on the import path, with modules that are theirs, where this process has had others of their names.

    Notebooks plan one run after another, each with a module of its own. Folders of earlier runs stay on the path, behind.
    """
    if not (others := added.difference(folders)):
        put_on_path(folders)
        return
    places = {folder.rstrip("/") for folder in others}
    for name, module in [*sys.modules.items()]:
        top = name.partition(".")[0]
        if _is_of(module, top, places) and _is_had(top, folders):
            del sys.modules[name]
    behind = [entry for entry in sys.path if entry in others]
    sys.path[:] = [entry for entry in sys.path if entry not in others]
    put_on_path(folders)
    sys.path.extend(behind)


def _is_of(module: ModuleType, top: str, folders: Set[str]) -> bool:
    """By where it was found, not by its ``__file__``: a module of a script's Job has that of the script."""
    origin, name = str(getattr(getattr(module, "__spec__", None), "origin", None)), f"/{top}"
    # Of thousands of modules, in any of the hundreds of folders that a notebook or a service has had: no loop over those.
    place = origin.find(name)
    while place >= 0:
        rest = origin[place + len(name) :]
        if (rest == ".py" or rest.startswith("/")) and origin[:place] in folders:
            return True
        place = origin.find(name, place + 1)
    return False


def _is_had(top: str, folders: Iterable[str]) -> bool:
    return any(os.path.isfile(path) for folder in folders for path in _files(top, folder))


def beside_ours(folder: str) -> str | None:
    """The folder ``jobs`` in it, whose modules are looked for behind ours; None where there is none."""
    theirs = os.path.join(folder, "jobs")
    # In a checkout of this project the two are one.
    return theirs if os.path.isdir(theirs) and not os.path.samefile(theirs, jobs.__path__[0]) else None


def what_hides(module: str, folders: Iterable[str]) -> str | None:
    """What ``import module`` takes in place of a folder's own of that name; None where they have none, or that is taken."""
    return next(filter(None, (_what_hides(module, folder) for folder in folders)), None)


def _what_hides(module: str, folder: str) -> str | None:
    own = next(filter(os.path.exists, _files(module, folder)), None)
    top = module.partition(".")[0]
    name = module if module in sys.modules else top
    found = _file_of(name)
    if own is None or found is None:
        return None
    if os.path.realpath(found) in map(os.path.realpath, _files(name, folder)):
        return None
    return f"{found} has that name, comes first on Python's path, and hides {own}: rename yours"


def place(error: BaseException) -> str:
    """``file:line`` of the user's code where an error arose, or of what could not be read as Python; empty if nowhere there.

    Of frames in packages and in Python itself, that of their caller.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [f"{file}:{line}" for file, line in frames if os.path.isabs(file) and not _is_installed(file)]
    return own[-1] if own else ""


def _is_installed(file: str) -> bool:
    return file.startswith(_NOT_THEIRS) or bool(_PACKAGES & set(file.split("/")))


def _files(module: str, folder: str) -> tuple[str, ...]:
    """Where a module of that name lies in a folder: a file, a package, or a package without ``__init__.py``."""
    path = os.path.join(folder, *module.split("."))
    return f"{path}.py", os.path.join(path, "__init__.py"), path


def _file_of(name: str) -> str | None:
    """The file of a module that is imported, or of one of the top level that would be."""
    if module := sys.modules.get(name):
        folders = list(getattr(module, "__path__", ()))
        origin = getattr(getattr(module, "__spec__", None), "origin", None)
        if origin and os.path.isfile(origin):
            return str(origin)
        return getattr(module, "__file__", None) or (folders[0] if folders else "a module built into Python")
    spec = find_spec(name) if "." not in name else None
    return spec.origin if spec else None
