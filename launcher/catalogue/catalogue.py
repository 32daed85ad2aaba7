"""Catalogue: the Jobs that there are, each with its class and parameters. Used by the jobs and init commands.

Built in are all modules of the package ``jobs`` that define a Job; a user's own Job is found by ``module:Class``.
"""

import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import jobs
from jobs.errors import InputError
from jobs.job import Job, job_class
from jobs.nearest import did_you_mean, nearest
from jobs.storage.records import JobSpec
from launcher.catalogue.param_types import Parameter, docstring, read_parameters


@dataclass(frozen=True)
class Entry:
    """A Job by its path, ``module:Class``."""

    path: str
    cls: type[Job]

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called: its path, module or class."""
        module, _, name = self.path.partition(":")
        return self.path, module.rpartition(".")[2], name

    @property
    def text(self) -> str:
        """The class's docstring."""
        return docstring(self.cls)

    @property
    def summary(self) -> str:
        """What its module's docstring says first; of a Job of the user's, else its class's."""
        text = (inspect.getmodule(self.cls) or self.cls).__doc__ or self.text
        return inspect.cleandoc(text).partition("\n\n")[0].replace("\n", " ").replace("``", "")

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return read_parameters(self.cls)

    def to_json(self) -> dict[str, Any]:
        """The document of ``launcher jobs --json``."""
        parameters = [parameter.to_json() for parameter in self.parameters]
        return {"job": self.path, "summary": self.summary, "text": self.text, "parameters": parameters}


def built_in() -> list[Entry]:
    """The Jobs of the package ``jobs``, by module."""
    names = (found.name for found in pkgutil.iter_modules(jobs.__path__) if not found.ispkg)
    return [entry for name in sorted(names) if not name.startswith("_") for entry in _entries(f"jobs.{name}")]


def _entries(name: str) -> Iterator[Entry]:
    module = import_module(name)
    yield from (Entry(f"{name}:{cls.__name__}", cls) for cls in _jobs_of(module) if not cls.__name__.startswith("_"))


def _jobs_of(module: ModuleType) -> list[type[Job]]:
    """The Jobs that the module itself defines."""
    classes = (value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Job))
    return [cls for cls in classes if cls.__module__ == module.__name__ and cls is not Job]


def find(name: str, folder: Path) -> Entry:
    """A Job by ``module:Class`` (``folder`` is put last on the import path), or a built-in one by module or class.

    Raises InputError where there is none.
    """
    if ":" in name:
        return Entry(name, job_class(JobSpec(name, folder=str(folder.absolute()))))
    entries = built_in()
    names = {known.lower(): entry for entry in entries for known in entry.names}
    if name.lower() in names:
        return names[name.lower()]
    guess = did_you_mean([names[near].path for near in nearest(name.lower(), names)]) or ";"
    listed = ", ".join(entry.path for entry in entries)
    raise InputError(f"no Job {name!r}{guess} Built in: {listed}; your own: module:Class")
