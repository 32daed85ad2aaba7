"""Variables: ``$NAME``, ``${NAME}`` and ``~`` in the paths of a config, as a shell has them; ``$$`` is a ``$``.

They are put in once, when the config is read: a run keeps the paths that it was planned with, whatever the variables are
on a node or tomorrow.
"""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from launcher.config import ENDINGS
from launcher.config.origins import Problem
from launcher.config.yaml_lines import KeyPath

_PATHS: tuple[tuple[str, ...], ...] = (
    ("runs",),
    ("folder",),
    ("after",),
    ("job", "import_from"),
    ("data", "manifest"),
    ("slurm", "template"),
    ("output", "path"),
)
_VARIABLE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})?")


def expand_paths(
    data: Mapping[str, Any], only: Collection[KeyPath] | None = None
) -> tuple[dict[str, Any], list[Problem]]:
    """The config's data with variables put into its paths (``only`` these), and what is wrong with them."""
    expanded, problems = dict(data), list[Problem]()
    for path in _PATHS:
        section = expanded if len(path) == 1 else expanded.get(path[0])
        if not isinstance(section, dict) or path[-1] not in section or not (only is None or path in only):
            continue
        value = _expanded(section[path[-1]], path, problems)
        if len(path) == 1:
            expanded[path[0]] = value
        else:
            expanded[path[0]] = {**section, path[-1]: value}
    return expanded, problems


def anchored(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same with the folder of runs and the template as absolute paths, which begin in ``folder``."""
    found = dict(data)
    if isinstance(runs := found.get("runs"), str) and runs:
        found["runs"] = os.path.normpath(folder / runs)
    section = found.get("slurm")
    template = section.get("template") if isinstance(section, dict) else None
    if isinstance(section, dict) and isinstance(template, str) and is_script(template):
        found["slurm"] = {**section, "template": os.path.normpath(folder / template)}
    return found


def moved(data: Mapping[str, Any], way: str) -> dict[str, Any]:
    """The same with all relative paths as they are from somewhere else, from where ``way`` leads to where they begin."""
    found = {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}
    for path in _PATHS if way != "." else ():
        section = found if len(path) == 1 else found.get(path[0])
        if isinstance(section, dict) and path[-1] in section:
            section[path[-1]] = _moved(section[path[-1]], path, way)
    return found


def _moved(value: Any, path: tuple[str, ...], way: str) -> Any:
    if isinstance(value, list):
        return [_moved(item, path, way) for item in value]
    if isinstance(value, dict) and "run" in value:  # of a manifest: the samples of another run
        return {**value, "run": _moved(value["run"], ("after",), way)}
    if isinstance(value, dict):
        return {key: _moved(item, path, way) for key, item in value.items()}
    if not isinstance(value, str) or not value or re.match(r"/|~|\$(?!\$)|\w+://", value):
        return value
    is_name = path == ("after",) and "/" not in value and not value.endswith(ENDINGS)
    if is_name or (path == ("slurm", "template") and not is_script(value)):
        return value
    return os.path.join(way, value.removeprefix("./"))


def is_script(template: str) -> bool:
    """Whether a template is the path of a script, not the name of one of ours."""
    return "/" in template or template.endswith(".sbatch")


def _expanded(value: Any, path: KeyPath, problems: list[Problem]) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(item, (*path, key), problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_expanded(item, (*path, index), problems) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    try:
        return expand(value)
    except ValueError as error:
        problems.append((path, str(error)))
        return value


def escaped(path: str | Path) -> str:
    """A path in which nothing is a variable, as a config has it."""
    return str(path).replace("$", "$$")


def expand(text: str) -> str:
    """Raises ValueError, with its name, for a variable that is not set, and for a user who is not known."""

    def put_in(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if found[0] == "$$":
            return "$"
        if not name:
            raise ValueError(f"a $ without a name in {text!r}; valid: $NAME, ${{NAME}}, and $$ for a $")
        if not os.environ.get(name):
            raise ValueError(
                f"the variable {name} of {text!r} is not set here; set it, or write the path out ($$ for a $)"
            )
        return os.environ[name]

    home = os.path.expanduser(text) if text.startswith("~") else text
    if home.startswith("~"):
        raise ValueError(
            f"{home.partition('/')[0]}: no such user; write the path out, or ./{home} for a folder of that name"
        )
    return _VARIABLE.sub(put_in, home)
