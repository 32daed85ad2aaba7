"""BlankConfig: a commented config.yaml for a Job, with every key, its default and its meaning.

What profiles set is a comment in it: written out, it would hold in their place.
"""

import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from jobs.errors import InputError
from launcher.catalogue.catalogue import Entry
from launcher.catalogue.config_schema import modeline
from launcher.catalogue.param_types import Parameter, check_params
from launcher.config.config import Config, config_from_mapping
from launcher.config.origins import Origins, apply_overrides
from launcher.config.problems import sections
from launcher.config.profiles import Setting, read_profiles
from launcher.config.values import is_run_name
from launcher.config.yaml_lines import KeyPath, value_text

_WIDTH = 110
_COLUMN = 36
_HEAD = "Paths are relative to this file's folder. `launcher try {name}`, then `launcher plan {name}`, `launcher run {name}`."
_OPTIONS = "and any other long option of sbatch, with _ for -: partition, account, qos, mem, time, constraint ..."
_MANIFEST = "samples.csv"


def render(entry: Entry, path: Path, overrides: Sequence[str] = ()) -> str:
    """The text of a config that is going to be at ``path``; ``overrides`` are ``key.sub=value``.

    Parameters without a default that are not given are commented out: planning names what is missing. Raises InputError
    for overrides that are not valid.
    """
    config = _config(entry, path, overrides)
    lines = [modeline(path), f"# {_HEAD.format(name=shlex.quote(path.name))}"]
    inner, given = sections(Config), _of_profiles(config)
    own_meanings = {field.alias or name: field.description for name, field in Config.model_fields.items()}
    for key, value in config.to_mapping().items():
        if key == "job":
            lines += ["job:", f"  class: {entry.path}", *_params(entry.parameters, config.job.params)]
        elif key in inner:
            fields = inner[key].model_fields
            meanings = {name: field.description for name, field in fields.items()}
            own = {**value, **{path[1]: None for path in given if path[0] == key}}
            lines += [f"{key}:", *(_line((key, name), of, meanings.get(str(name)), given) for name, of in own.items())]
            if "options" in fields:  # those of sbatch are many: the set ones are listed
                lines.append(f"  # {_OPTIONS}")
        else:
            lines.append(_line((key,), value, own_meanings[key], given))
    return "\n".join(lines) + "\n"


def _config(entry: Entry, path: Path, overrides: Sequence[str]) -> Config:
    """The config as if all was set; raises InputError where it is not valid."""
    start = {"name": _name(entry, path), "job": {"class": entry.path}, "data": {"manifest": _MANIFEST}}
    data, texts = apply_overrides(start, overrides)
    config = config_from_mapping(data, path, texts)
    if config.job.class_ != entry.path:
        raise InputError(f"--set job.class: the Job is {entry.path}; give another one as JOB")
    found = check_params(entry.cls, entry.path, config.job.params)
    wrong = [problem for problem in found if problem[0][2] in config.job.params]
    if wrong:
        raise InputError(Origins(str(path)).report(wrong))
    return config


def _name(entry: Entry, path: Path) -> str:
    """That of the file, where it says what the run is; else that of the class."""
    if path.stem != "config" and is_run_name(path.stem):
        return path.stem
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", entry.path.rpartition(":")[2].rpartition(".")[2]).lower()


def _of_profiles(config: Config) -> dict[KeyPath, Setting]:
    """What profiles would set in this config, below its first two keys together."""
    found: dict[KeyPath, Setting] = {}
    for path, setting in read_profiles().items():
        if config.origins.where(path[:2]) is None:
            value, known = setting.value, found.get(path[:2])
            for key in reversed(path[2:]):
                value = {key: value}
            found[path[:2]] = Setting({**known.value, **value} if known else value, setting.origin)
    return found


def _line(path: KeyPath, value: Any, meaning: str | None, given: Mapping[KeyPath, Setting]) -> str:
    indent = "  " * (len(path) - 1)
    if setting := given.get(path):
        indent, value, meaning = f"{indent}# ", setting.value, f"as {setting.origin} says"
    text = f"{indent}{path[-1]}: {value_text(value)}"
    return f"{text:{_COLUMN}} # {meaning}" if meaning else text


def _params(parameters: Sequence[Parameter], given: Mapping[str, Any]) -> Iterator[str]:
    yield "  params:"
    for parameter in parameters:
        head = ", ".join(filter(None, [parameter.type_text, "required" if parameter.required else ""]))
        words = " ".join(filter(None, [f"{head}:" if parameter.words and head else head, parameter.words]))
        yield from textwrap.wrap(words, _WIDTH, initial_indent="    # ", subsequent_indent="    # ")
        if parameter.required and parameter.name not in given:
            yield f"    # {parameter.name}:"
        else:
            value = given.get(parameter.name, to_jsonable_python(parameter.default, fallback=repr))
            yield f"    {parameter.name}: {value_text(value)}"
    known = {parameter.name for parameter in parameters}
    yield from (f"    {name}: {value_text(value)}" for name, value in given.items() if name not in known)
