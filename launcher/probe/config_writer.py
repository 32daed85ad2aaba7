"""Writes what a probe recommends into a config file; comments, order and all other values stay.

Nothing is written that would not load again: the new text is read back and compared with what it is to say.
"""

import io
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.errors import InputError
from jobs.storage.files import replacing
from launcher.config.config import Config, load_config
from launcher.config.sbatch_options import option_name
from launcher.config.yaml_lines import parse_document
from launcher.probe.advice import Recommendation

# Other ways of sbatch to ask for memory, of which a job can use one.
_OTHER_MEMORY = ("mem-per-cpu", "mem-per-gpu")

Values = Mapping[tuple[str, str], Any]


def write_config(path: Path, config: Config, recommended: tuple[Recommendation, ...]) -> None:
    """Changes the file. Raises InputError where the result would be no valid config; then nothing is written."""
    values: dict[tuple[str, str], Any] = {one.key: one.value for one in recommended}
    processes = values["node", "processes"]
    each = max(values["node", "workers"], 1) + (config.node.gpus_per_process or 0)
    needed = (processes if isinstance(processes, int) else config.processes) * each
    if config.slurm.cpus_per_task is not None and config.slurm.cpus_per_task < needed:
        values["slurm", "cpus_per_task"] = needed
    text = path.read_text(encoding="utf-8-sig")
    changed = edited(text, values)
    _check(path, text, changed, values)
    with replacing(path.resolve()) as temporary:  # a link stays one
        temporary.touch(0o600)
        temporary.write_bytes(changed.encode())
        shutil.copymode(path, temporary)


def edited(text: str, values: Values) -> str:
    """The YAML text with these values put in: (section, key) -> value."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 20  # no line is broken that was not
    mapping, sequence, offset = _indents(text)
    yaml.indent(mapping=mapping, sequence=sequence, offset=offset)
    yaml.representer.add_representer(type(None), lambda to, _: to.represent_scalar("tag:yaml.org,2002:null", "null"))
    data = yaml.load(text)
    for (section, key), value in values.items():
        if data.get(section) is None:
            data[section] = {}
        for other in _replaced(data[section], section, key):
            del data[section][other]
        spelled = next(
            (own for own in data[section] if section == "slurm" and option_name(own) == option_name(key)), key
        )
        if value is not None or spelled in data[section]:
            data[section][spelled] = value
    out = io.StringIO()
    yaml.dump(data, out)
    return out.getvalue()


def _replaced(section: Mapping[str, Any], name: str, key: str) -> list[str]:
    """Keys that cannot stay beside the new one."""
    return [own for own in section if (name, key) == ("slurm", "mem") and option_name(own) in _OTHER_MEMORY]


def _indents(text: str) -> tuple[int, int, int]:
    """How the file is indented: mappings, sequences, and the dash of these."""
    block = r"^\S[^#\n]*:[ \t]*(?:#.*)?\n(?:[ \t]*(?:#.*)?\n)*"
    keys = re.search(block + r"( +)[^\s#-]", text, re.MULTILINE)
    dashes = re.search(block + r"( *)-( +)\S", text, re.MULTILINE)
    offset, after = (len(dashes[1]), len(dashes[2])) if dashes else (0, 1)
    return len(keys[1]) if keys else 2, offset + 1 + after, offset


def _check(path: Path, before: str, after: str, values: Values) -> None:
    """Raises InputError where the new text does not load, or says more or less than it is to say."""
    expected = parse_document(before, str(path)).data
    for (section, key), value in values.items():
        old = expected.get(section) or {}
        dropped = _replaced(old, section, key)
        kept = {own: old[own] for own in old if own not in dropped and option_name(own) != option_name(key)}
        was_there = any(option_name(own) == option_name(key) for own in old)
        expected[section] = {**kept, key: value} if value is not None or was_there else kept
    found = parse_document(after, str(path)).data
    if _plain(found) != _plain(expected):
        listed = ", ".join(f"{section}.{key}={value}" for (section, key), value in values.items())
        raise InputError(f"{path}: cannot be changed without touching more than the values; set them by hand: {listed}")
    load_config(
        path, [f"{section}.{key}={'null' if value is None else value}" for (section, key), value in values.items()]
    )


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data with the slurm options in one spelling."""
    slurm = data.get("slurm")
    return {**data, "slurm": {option_name(key): value for key, value in slurm.items()}} if slurm else dict(data)
