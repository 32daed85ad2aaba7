"""Code files: the files that a Job is made of: its module, and the modules that these import, of the user's own.

Found by reading sources, never by importing, so that imports inside functions count and none of the user's code runs. Own is
what lies in a folder that the config puts on the import path, or beside the Job (in the folder of its top package); not what
is in site-packages, Python's own modules, or this project's. Scripts that parameters name count too, and modules that they
name as ``module:function``.
"""

import ast
import os
import pkgutil
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from jobs import job_folder
from jobs.storage.code import Code, changed, describe_file, told
from jobs.storage.plans import Plan
from jobs.storage.records import JobSpec

_MODULE = re.compile(r"([^\W\d][\w.]*):[^\W\d][\w.]*")
_SCRIPTS = {".py", ".sh", ".bash", ".r", ".jl", ".pl", ".lua", ".awk", ".rb", ".js"}
_OURS = ("jobs", "launcher")
_INSTALLED = {"site-packages", "dist-packages"}
_PYTHON = tuple({os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")})


def find_code(job: JobSpec) -> Code:
    """The files of a Job as they are now; modules that are not found, or cannot be read, are left out."""
    PathFinder.invalidate_caches()
    finder = _Finder(job)
    words = list(_words(job.params))
    for module in (job.path.partition(":")[0], *(found[1] for word in words if (found := _MODULE.fullmatch(word)))):
        finder.follow(module)
    scripts = {
        word: os.path.join(job.folder or "", os.path.expanduser(word))
        for word in words
        if os.path.splitext(word)[1].lower() in _SCRIPTS and "\0" not in word
    }
    paths = finder.files | {word: path for word, path in scripts.items() if os.path.isfile(path)}
    return {name: describe_file(path) for name, path in sorted(paths.items())}


def code_changes(plan: Plan, job: JobSpec) -> list[str]:
    """A line where files of the plan's Job are others now; none for a plan that does not know them."""
    names = changed(plan.code, find_code(job)) if plan.code else []
    return [told(plan, names)] if names else []


def _words(value: Any) -> Iterator[str]:
    """All text in params."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _words(item)


class _Finder:
    """Follows imports; ``files`` are those found so far, by the names that Python has for them."""

    def __init__(self, job: JobSpec) -> None:
        self.files: dict[str, str] = {}
        self._folders = [os.path.abspath(folder) for folder in job.folders]
        self._specs: dict[str, ModuleSpec | None] = {}
        self._roots = [*self._folders]
        if (top := self._spec(job.path.partition(":")[0].partition(".")[0])) and (place := _place(top)):
            self._roots.append(os.path.dirname(place) if top.submodule_search_locations is not None else place)

    def follow(self, module: str) -> None:
        """Adds the files of a module, of the packages that it lies in, and of all that these import."""
        waiting, seen = [module], set[str]()
        while waiting:
            name = waiting.pop()
            parts = name.split(".")
            for package in (".".join(parts[:count]) for count in range(1, len(parts) + 1)):
                if package not in seen:
                    seen.add(package)
                    waiting += self._add(package)

    def _add(self, name: str) -> list[str]:
        """Takes a module in, if it is the user's; returns what it imports."""
        spec = self._spec(name)
        if spec is None or not spec.has_location or spec.origin is None or not self._is_own(spec.origin):
            return []
        is_package = spec.submodule_search_locations is not None
        above = name.split(".") if is_package else name.split(".")[:-1]
        self.files["/".join([*above, os.path.basename(spec.origin)])] = spec.origin
        return [*imports(spec.origin, ".".join(above))] if spec.origin.endswith(".py") else []

    def _spec(self, name: str) -> ModuleSpec | None:
        if name not in self._specs:
            self._specs[name] = self._find(name)
        return self._specs[name]

    def _find(self, name: str) -> ModuleSpec | None:
        above, _, _ = name.rpartition(".")
        if above:
            around = self._spec(above)
            return _find_in(name, (around and around.submodule_search_locations) or ())
        if name in _OURS:
            return self._beside_ours(name)
        # As in an array task, where no folder of another config is on the path.
        path = [entry for entry in sys.path if entry not in job_folder.added]
        path += self._folders
        finders = (_find_in(name, path) if one is PathFinder else one.find_spec(name, None) for one in sys.meta_path)
        return next(filter(None, finders), None)

    def _beside_ours(self, name: str) -> ModuleSpec | None:
        """The user's own folder ``jobs``, whose modules are looked for behind ours."""
        theirs = [*filter(None, map(job_folder.beside_ours, self._folders if name == "jobs" else []))]
        if not theirs:
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = theirs
        return spec

    def _is_own(self, file: str) -> bool:
        paths = {os.path.abspath(file), os.path.realpath(file)}
        if any(_INSTALLED & set(path.split("/")) or _lies_in(path, _PYTHON) for path in paths):
            return False
        return any(_lies_in(path, (root, os.path.realpath(root))) for path in paths for root in self._roots)


def _find_in(name: str, path: Iterable[str]) -> ModuleSpec | None:
    """What Python takes for a module in these folders; its own search needs the packages around it to be imported."""
    portions: list[str] = []
    for entry in path:
        importer = pkgutil.get_importer(entry)
        found = importer.find_spec(name) if importer else None
        if found and found.loader:
            return found
        portions += (found and found.submodule_search_locations) or ()
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = portions
    return spec if portions else None


def _place(spec: ModuleSpec) -> str | None:
    """The folder of a module's file; of a package without ``__init__.py`` the first of its folders."""
    if spec.has_location and spec.origin:
        return os.path.dirname(spec.origin)
    return next(iter(spec.submodule_search_locations or ()), None)


def _lies_in(path: str, folders: tuple[str, ...]) -> bool:
    return any(path.startswith(f"{folder.rstrip('/')}/") for folder in folders)


def imports(path: str, package: str = "") -> Sequence[str]:
    """The names that a source file imports, wherever in it; some may be no modules. Nothing where it cannot be read."""
    try:
        return _imported(Path(path).read_bytes(), package)
    except OSError:
        return ()


@lru_cache(maxsize=256)
def _imported(source: bytes, package: str) -> tuple[str, ...]:
    """Kept, since a plan is compared with its Job's files again and again. Nothing where the source is no Python."""
    try:
        return tuple(_names(ast.parse(source), package))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()


def _names(tree: ast.AST, package: str) -> Iterator[str]:
    for node in _running(tree):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                base = _absolute(node, package)
                yield from (f"{base}.{alias.name}".strip(".") for alias in node.names if base is not None)
            case ast.Call(args=[ast.Constant(value=str(name)), *_]) if _called(node.func) in (
                "import_module",
                "__import__",
            ):
                yield name.strip(".")


def _absolute(node: ast.ImportFrom, package: str) -> str | None:
    """The module of ``from module import``; None where it lies above the top."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    above = parts[: len(parts) - node.level + 1]
    return ".".join([*above, *filter(None, [node.module])]) if len(parts) >= node.level else None


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but what is under TYPE_CHECKING."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and _called(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
