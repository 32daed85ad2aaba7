"""JobSource: where array tasks get a Job or function of Python's from: its module, and the folders that this is in."""

import inspect
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from types import FunctionType
from typing import Any

from jobs.errors import InputError, a_type
from jobs.job import Job
from jobs.parameters import arguments, made_with, without_note
from jobs.storage.records import JobSpec
from launcher.config.variables import escaped
from launcher.plan.code_files import find_code, imports
from launcher.python.given import Given
from launcher.python.main_source import MainSource
from launcher.python.module_text import module_text
from launcher.python.plain import NotPlainError, plain

# What tells by itself what it is.
_COMPARED = (bool, int, float, complex, str, bytes, Path, list, tuple, set, frozenset, dict)


@dataclass(frozen=True)
class JobSource:
    """``path``: module:name; ``import_from``: folders that are not on every Python's import path."""

    path: str
    import_from: tuple[str, ...]

    def section(self, params: Mapping[str, Any], job: str = "") -> dict[str, Any]:
        """The section ``job`` of a config: of the Job that is here, or of another, which gets what is here as a parameter."""
        folders = [escaped(folder) for folder in self.import_from]
        return {"class": job or self.path, "params": params, "import_from": folders}


def job_source(thing: Any, given: Given) -> JobSource:
    """Of a class or function. One of a script or notebook becomes a module. Raises InputError where it cannot be had."""
    if thing.__module__ != "__main__":
        return _of_module(thing)
    source = MainSource.find()
    name = f"job_of_{re.sub(r'[^0-9A-Za-z_]', '_', source.stem)}"
    text = module_text(thing, source, name)
    return _with_imports(f"{name}:{thing.__name__}", [str(given.module(name, text))])


def _of_module(thing: Any) -> JobSource:
    found: Any = sys.modules.get(thing.__module__)
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not thing:
        raise InputError(
            f"{thing.__module__}.{thing.__qualname__} cannot be imported by its name, as array tasks do: "
            "define it with class or def at the top level of its module"
        )
    return _with_imports(f"{thing.__module__}:{thing.__qualname__}", _folders([thing.__module__]))


def _with_imports(path: str, folders: list[str]) -> JobSource:
    """With the folders of all that is imported, wherever in the code: what is in a folder may import from another one."""
    while True:
        code = find_code(JobSpec(path, folder=os.getcwd(), import_from=tuple(folders)))
        names = sorted({name for file in code.values() for name in imports(file["path"])})
        more = [folder for folder in _folders(names) if folder not in folders]
        if not more:
            return JobSource(path, tuple(folders))
        folders = [*folders, *more]


def params_of(job: Job | type[Job]) -> dict[str, Any]:
    """What a Job was made with, as a config has it. Raises InputError for what no config can say."""
    if isinstance(job, type):
        return {}
    made = made_with(job)
    if made is None:
        raise InputError(f"job: nobody knows what this {type(job).__name__} was made with (a copy?): make it anew")
    params: dict[str, Any] = {}
    for name, value in made.items():
        try:
            params[name] = plain(value)
        except NotPlainError as error:
            raise InputError(f"job: {type(job).__name__}({name}=...): {error}; make what is none in setup()") from None
    given = arguments(type(job), params)
    for name, back in given.items():
        if not _is_same(made[name], back):
            raise InputError(
                f"job: {type(job).__name__}({name}=...): array tasks would get {back!r:.60} for {made[name]!r:.60}: give what "
                "a config can say (text, a number, a list, a dict), or annotate the parameter as what it is to become there "
                "(Path, tuple[int, ...], set[str])"
            )
    _refuse_changed(job, given)
    return params


def _refuse_changed(job: Job, given: Mapping[str, Any]) -> None:
    """Array tasks make it anew: what it was given since, or has become by its methods, they would not have."""
    anew = vars(type(job)(**given))
    with without_note(job):
        now = dict(vars(job))
    for name, value in now.items():
        if isinstance(value, _COMPARED) and not (name in anew and _is_same(value, anew[name])):
            raise InputError(
                f"job.{name}: is {value!r:.60}, and was not when the {type(job).__name__} was made, as array tasks make it: "
                "give it to the constructor; where a call of the Job set it, plan with one that is made anew"
            )


def _is_same(value: Any, back: Any) -> bool:
    """Whether what came back from a config is the value, in type too."""
    if type(value) is not type(back) and not (isinstance(value, Path) and isinstance(back, Path)):
        return False
    if isinstance(value, dict):
        return [*value] == [*back] and all(map(_is_same, value.values(), back.values()))
    if isinstance(value, list | tuple):
        return len(value) == len(back) and all(map(_is_same, value, back))
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value)) == sorted(map(repr, back))
    return repr(value) == repr(back)


def function_name(function: object) -> str:
    """Raises InputError for what has no name by which another process could have it."""
    if not isinstance(function, FunctionType):
        raise InputError(f"function: {a_type(function)} is not valid; write a function with def, which may call it")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InputError(f"function: {function.__name__} returns a generator, no value: write it without yield")
    if function.__name__ == "<lambda>":
        raise InputError("function: a lambda has no name by which another process could have it: write it with def")
    return function.__name__


def _folders(modules: Iterable[str]) -> list[str]:
    """The folders of modules that another Python may not find: neither installed, nor where the Job works."""
    tops = dict.fromkeys(name.partition(".")[0] for name in modules)
    places = map(_folder, tops)
    return list(
        dict.fromkeys(place for place in places if place and place != os.getcwd() and not _is_found_anyway(place))
    )


def _folder(top: str) -> str | None:
    """The folder that a module of the top level is in, also where it is to be imported later."""
    found = sys.modules.get(top) or PathFinder.find_spec(top)
    folders = list(getattr(found, "__path__", None) or getattr(found, "submodule_search_locations", None) or ())
    file = folders[0] if folders else getattr(found, "__file__", None) or getattr(found, "origin", None)
    return os.path.dirname(os.path.abspath(file)) if file and os.path.exists(file) else None


def _is_found_anyway(folder: str) -> bool:
    own = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    installed = {*site.getsitepackages(), site.getusersitepackages(), own}
    python = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    return folder in installed or any(folder == one or folder.startswith(f"{one}/") for one in python)
