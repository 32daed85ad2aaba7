"""Place: what of a config says where its run is; and that place, whatever else is in the config."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr

from jobs.errors import InputError
from jobs.storage.files import is_file
from jobs.storage.rundir import RunDir
from launcher.config import includes
from launcher.config.origins import Origins, apply_overrides
from launcher.config.problems import check_fields
from launcher.config.profiles import Settings, put_below, read_profiles
from launcher.config.sections import Section
from launcher.config.values import PathText, RunName
from launcher.config.variables import expand_paths
from launcher.config.yaml_lines import KeyPath, read_document


class Place(Section):
    """What of a config says where its run is; ``path`` is the file it came from."""

    name: RunName = Field(description="the run directory is <runs>/<name>")
    runs: PathText = Field(default="runs", description="folder of the runs; on a cluster, on the shared file system")
    start: PathText | None = Field(
        default=None,
        alias="folder",
        description="where relative paths start, and the Job's modules are; null: the folder of this file",
    )
    _path: Path = PrivateAttr(default=Path("config.yaml"))

    @property
    def path(self) -> Path:
        return self._path

    @property
    def folder(self) -> Path:
        """Absolute; all relative paths of the config start here."""
        own = Path(os.path.abspath(self._path)).parent
        return own if self.start is None else Path(os.path.normpath(own / Path(self.start).expanduser()))

    def resolve(self, path: str) -> Path:
        """A path of the config as an absolute one, ``~`` expanded."""
        return Path(os.path.normpath(self.folder / Path(path).expanduser()))

    @property
    def run_folder(self) -> Path:
        """The run directory, ``<runs>/<name>``."""
        return self.resolve(self.runs) / self.name


def run_folder_of(path: Path, overrides: Sequence[str] = ()) -> Path:
    """The run directory of a config, whatever else is in it. Raises InputError where it does not say."""
    data, origins = read_written(path, overrides)
    return _run_folder(data, path, origins, profiles_for(path))


def made_run_folder(data: Mapping[str, Any], program: str) -> Path:
    """The run directory of a config that a program makes; of its data ``name``, ``runs`` and ``folder`` are enough."""
    return _run_folder(data, Path("config.yaml"), Origins(program), read_profiles())


def _run_folder(written: Mapping[str, Any], path: Path, origins: Origins, settings: Settings) -> Path:
    own = expanded({key: written[key] for key in ("name", "runs", "folder") if key in written}, origins)
    data, profiles = put_below(own, {key: setting for key, setting in settings.items() if key[0] == "runs"})
    place, problems = check_fields(Place, data)
    if place is None:
        raise InputError(replace(origins, profiles=profiles).report(problems))
    place._path = path
    return place.run_folder


def read_written(path: Path, overrides: Sequence[str]) -> tuple[dict[str, Any], Origins]:
    """What a config says, those that it includes below it and ``--set`` over it."""
    document = read_document(path)
    own = {key: value for key, value in document.data.items() if key != includes.KEY}
    below = includes.read_includes(document, path)
    merged, included = put_below(own, below.settings)
    data, set_texts = apply_overrides(merged, overrides)
    return data, Origins(str(path), document, set_texts, included=included, included_doubts=below.doubts)


def profiles_for(path: Path) -> Settings:
    """None for the config that a run keeps: what holds for it was put in when it was planned."""
    return {} if is_file(RunDir(path.parent).plan) else read_profiles()


def expanded(data: Mapping[str, Any], origins: Origins, only: Collection[KeyPath] | None = None) -> dict[str, Any]:
    """The data with variables put into its paths. Raises InputError for what is wrong with them."""
    found, problems = expand_paths(data, only)
    if problems:
        raise InputError(origins.report(problems))
    return found
