"""Profiles: settings of a site, of a person, of a shell, which hold where a config is silent.

A profile has the keys of a config, but for those that say what a run computes. Of several the one that is nearer to the
command counts: the file that LAUNCHER_PROFILE names, then the person's, then the site's.
"""

import copy
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from jobs.errors import InputError
from launcher.config.origins import Origins, spelled, values_of
from launcher.config.profile_files import VARIABLE, named_file, profile_files
from launcher.config.sbatch_options import option_name, ousted
from launcher.config.variables import anchored, expand_paths
from launcher.config.yaml_lines import KeyPath, parse_document

# What a run computes, and where its result goes.
_OF_A_RUN: tuple[KeyPath, ...] = (
    ("name",),
    ("include",),
    ("folder",),
    ("job",),
    ("data",),
    ("node", "batch_size"),
    ("output",),
)
_ROOT = 0
_WAYS_ON = f"; mend or remove it, or go on without any profile: {VARIABLE}={os.devnull}"


@dataclass(frozen=True)
class Setting:
    """A value of a profile, and the line that says so."""

    value: Any
    origin: str


Settings: TypeAlias = Mapping[KeyPath, Setting]


def read_profiles() -> dict[KeyPath, Setting]:
    """What the profiles say, by key. Raises InputError, with file and line, for what is wrong with one."""
    found: dict[KeyPath, Setting] = {}
    for file in profile_files():
        for path, setting in _settings(file):
            found = {known: old for known, old in found.items() if not is_over(path, setting.value, known)}
            if setting.value is not None or _says_null(path):
                found[path] = setting
    return found


def _settings(file: Path) -> Iterator[tuple[KeyPath, Setting]]:
    """Its values that are no mappings, with their places. An empty section says nothing."""
    document = parse_document(_read(file), str(file))
    data, problems = expand_paths(document.data)
    reason = "cannot stand in a profile, since it is not the same for all runs: set it in the config"
    problems += [(path, reason) for path in _OF_A_RUN if path in document.lines]
    if problems:
        raise InputError(Origins(str(file), document).report(problems))
    for path, value in values_of(anchored(data, file.parent)):
        yield spelled(path), Setting(value, f"{file}:{document.line(path)}")


def _read(file: Path) -> str:
    """Raises InputError also where others than this user, or root, could have written what runs in this user's name."""
    try:
        seen = file.stat()
        if not stat.S_ISREG(seen.st_mode):
            raise InputError(f"{file}: this profile is no file{_WAYS_ON}")
        if seen.st_uid not in (_ROOT, os.geteuid()) and file != named_file():  # whoever names it trusts it
            raise InputError(f"{file}: this profile is another user's, and says what runs in your name{_WAYS_ON}")
        if seen.st_mode & stat.S_IWOTH:
            raise InputError(
                f"{file}: everybody may write this profile, and it says what runs in your name: chmod o-w {file}"
            )
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{file}: this profile cannot be read: {error.strerror}{_WAYS_ON}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}:{line}: not UTF-8 text; save the file as UTF-8") from None


def is_over(path: KeyPath, value: Any, known: KeyPath) -> bool:
    """Whether a value of a nearer profile leaves nothing of another one's."""
    if value is None and len(path) == 1:  # of a section, its keys may all be commented out
        return known == path
    shorter = min(len(path), len(known))
    return path[:shorter] == known[:shorter] or _ousts(path, value, known)


def _ousts(path: KeyPath, value: Any, other: KeyPath) -> bool:
    """Whether both are options of which sbatch takes one."""
    if value is None or path[0] != "slurm" or path[:-1] != other[:-1]:
        return False
    return option_name(str(other[-1])) in ousted(option_name(str(path[-1])), value)


def _says_null(path: KeyPath) -> bool:
    """Whether null is a value there, and not only the default: without what the array tasks ask for."""
    return path[:2] == ("slurm", "finalize")


def put_below(data: Mapping[str, Any], settings: Settings) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """A config's data with the settings on which it is silent, and the origins of these.

    What a config has as null, no profile sets.
    """
    merged, origins = copy.deepcopy(dict(data)), dict[KeyPath, str]()
    own = [(spelled(path), value) for path, value in values_of(data)]
    # Each goes first: of what can stand side by side the config's, and then the nearest, counts.
    for path, setting in reversed(list(settings.items())):
        around = _around(merged, path)
        if around is None:
            continue
        same = next((key for key in around if spelled((*path[:-1], key)) == path), None)
        if same is None and not any(_ousts(other, value, path) for other, value in own):
            _put_first(around, path[-1], setting.value)
            origins[path] = setting.origin
        elif same is not None and around[same] is None and not _says_null(path):
            del around[same]
    return merged, dict(reversed(origins.items()))


def _around(data: dict[str, Any], path: KeyPath) -> dict[str, Any] | None:
    """The mapping that a key is to be in, made where the config is silent; None where it says something else."""
    inner: Any = data
    for depth, key in enumerate(path[:-1]):
        # A mapping whose keys are all commented out is null.
        if key not in inner or (inner[key] is None and (depth == 0 or path[:2] == ("job", "params"))):
            inner[key] = {}
        inner = inner[key]
        if not isinstance(inner, dict):
            return None
    return inner  # type: ignore[no-any-return]


def _put_first(data: dict[str, Any], key: Any, value: Any) -> None:
    rest = dict(data)
    data.clear()
    data.update({key: value, **rest})
