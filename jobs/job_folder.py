"""The config's folder as a place to import a Job from: last on Python's path, so that nothing in it hides anything.

Its modules may be hidden, then. Those of a folder ``jobs`` in it are not, though our package has that name: they are looked
for behind ours.
"""

import os
import sys
import traceback
from importlib.util import find_spec

import jobs

_PACKAGES = {"site-packages", "dist-packages"}
_NOT_THEIRS = (f"{os.path.dirname(os.__file__)}/", f"{os.path.dirname(os.path.dirname(__file__))}/jobs/")

added: set[str] = set()
"""The folders that this process has put on Python's path."""


def put_on_path(folder: str | None) -> None:
    """So that a Job, and what its module imports, is found there; a second time changes nothing."""
    if not folder:
        return
    if folder not in sys.path:
        sys.path.append(folder)
        added.add(folder)
    theirs = beside_ours(folder)
    if theirs and theirs not in jobs.__path__:
        jobs.__path__.append(theirs)


def beside_ours(folder: str) -> str | None:
    """The folder ``jobs`` in it, whose modules are looked for behind ours; None where there is none."""
    theirs = os.path.join(folder, "jobs")
    # In a checkout of this project the two are one.
    return theirs if os.path.isdir(theirs) and not os.path.samefile(theirs, jobs.__path__[0]) else None


def what_hides(module: str, folder: str | None) -> str | None:
    """What ``import module`` takes in place of the folder's own of that name; None where it has none, or that is taken."""
    own = next((path for path in _files(module, folder or "") if folder and os.path.exists(path)), None)
    top = module.partition(".")[0]
    name = module if module in sys.modules else top
    found = _file_of(name)
    if own is None or found is None:
        return None
    if os.path.realpath(found) in map(os.path.realpath, _files(name, folder or "")):
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
        return getattr(module, "__file__", None) or (folders[0] if folders else "a module built into Python")
    spec = find_spec(name) if "." not in name else None
    return spec.origin if spec else None
