"""Catalogue: the Jobs that there are, each with its class and parameters.

Those of this distribution are in a table here; other packages name theirs in the entry-point group ``launcher.jobs``; a
user's own is found by ``module:Class``. A Job is imported when more than its name is asked for, so that one that cannot be
imported here is listed all the same.
"""

import inspect
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import extras
from jobs.errors import InputError, described
from jobs.job import Job, job_class
from jobs.nearest import did_you_mean, nearest
from jobs.storage.records import JobSpec
from launcher.catalogue.param_types import Parameter, docstring, read_parameters

if TYPE_CHECKING:
    from launcher.documents.helps import JobDocument

ENTRY_POINTS = "launcher.jobs"


@dataclass(frozen=True)
class Entry:
    """A Job by its path, ``module:Class``; what is asked of its class raises InputError where that cannot be imported.

    ``extra`` names what a plain install lacks for it. ``package`` is the distribution that it comes with, None for a
    user's own; ``name`` what that calls it. ``folder`` is put last on the import path.
    """

    path: str
    extra: str | None = None
    package: str | None = None
    name: str = ""
    folder: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called: its path, module or class, or the name that its package gave it."""
        module, _, name = self.path.partition(":")
        return self.path, module.rpartition(".")[2], name, self.name or name

    @cached_property
    def cls(self) -> type[Job]:
        return job_class(JobSpec(self.path, folder=self.folder))

    @cached_property
    def problem(self) -> str | None:
        """Why the class cannot be imported or described; None where it can. So one bad Job leaves the others usable."""
        try:
            for parameter in self.parameters:
                parameter.to_json()
        except InputError as error:
            return str(error)
        except Exception as error:  # whatever annotations and defaults of another package do
            return f"{self.path}: its parameters cannot be read: {described(error)}"
        return None

    @property
    def to_install(self) -> str | None:
        """The command that installs what the Job needs and is not there; None where nothing is missing."""
        return extras.how_to_install(self.extra) if self.extra and extras.missing(self.extra) else None

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

    def to_json(self) -> "JobDocument":
        """The document of ``launcher jobs --json``; without parameters where the class cannot be imported."""
        is_usable = self.problem is None
        return {
            "job": self.path,
            "package": self.package,
            "to_install": self.to_install,
            "problem": self.problem,
            "summary": self.summary if is_usable else "",
            "text": self.text if is_usable else "",
            "parameters": [parameter.to_json() for parameter in self.parameters] if is_usable else [],
        }


_BUILT_IN = (
    Entry("jobs.audio_embedding:AudioEmbedding", "audio", extras.DISTRIBUTION),
    Entry("jobs.command:Command", None, extras.DISTRIBUTION),
    Entry("jobs.download:Download", "download", extras.DISTRIBUTION),
    Entry("jobs.function:Function", None, extras.DISTRIBUTION),  # first of its module, so it is what ``function`` means
    Entry("jobs.function:AsyncFunction", None, extras.DISTRIBUTION),
    Entry("jobs.image_embedding:ImageEmbedding", "image", extras.DISTRIBUTION),
    Entry("jobs.text_embedding:TextEmbedding", "text", extras.DISTRIBUTION),
    Entry("jobs.text_generation:TextGeneration", "generation", extras.DISTRIBUTION),
    Entry("jobs.thumbnails:Thumbnails", "thumbnails", extras.DISTRIBUTION),
)


def built_in() -> list[Entry]:
    """The Jobs of this distribution, by module."""
    return list(_BUILT_IN)


def of_other_packages() -> list[Entry]:
    """The Jobs that installed packages name in the group ``launcher.jobs``, by path. Imports none of them."""
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: (point.value, point.name))
    return [
        Entry(f"{point.module}:{point.attr}", package=point.dist.name if point.dist else None, name=point.name)
        for point in found
        if point.attr
    ]


def find(name: str, folder: Path) -> Entry:
    """A Job by ``module:Class`` (``folder`` is put last on the import path), or a known one by name, module or class.

    A built-in one comes before one of another package that is called the same. Raises InputError where there is none, or
    it cannot be imported.
    """
    if ":" in name:
        # Entry points are read only where the name is not one of ours: it takes a look at every installed package.
        known = (entry for entries in (built_in, of_other_packages) for entry in entries() if entry.path == name)
        return _imported(next(known, Entry(name, folder=str(folder.absolute()))))
    others = of_other_packages()
    # What a package itself calls a Job goes before what another's module or class happens to be called.
    names = {known.lower(): entry for entry in reversed(others) for known in entry.names}
    names |= {entry.name.lower(): entry for entry in reversed(others)}
    names |= {known.lower(): entry for entry in reversed(built_in()) for known in entry.names}
    if name.lower() in names:
        return _imported(names[name.lower()])
    guess = did_you_mean([names[near].path for near in nearest(name.lower(), names)]) or "."
    listed = ", ".join(entry.path for entry in built_in())
    more = f"; of other packages: {', '.join(entry.path for entry in others)}" if others else ""
    raise InputError(f"no Job {name!r}{guess} Built in: {listed}{more}; your own: module:Class")


def _imported(entry: Entry) -> Entry:
    if entry.problem:
        raise InputError(entry.problem)
    return entry
