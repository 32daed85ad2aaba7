"""ConfigSchema: config.yaml as a JSON Schema, by which editors complete, explain and check it; with the parameters of a Job.

It is that of the models, with their descriptions. What only the models can say (two keys that exclude each other, files that
are not there) is told when a config is loaded.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import PydanticUserError, TypeAdapter
from pydantic_core import to_jsonable_python

from jobs.parameters import UNKNOWN, takes_any
from jobs.storage.files import write_bytes
from launcher.catalogue.catalogue import Entry
from launcher.catalogue.param_types import Parameter
from launcher.config.config import Config
from launcher.config.problems import sections
from launcher.config.sbatch_options import COMPUTED, OPTIONS, forms

# What the language servers of editors know well; nothing here needs a later one.
_DRAFT = "http://json-schema.org/draft-07/schema#"
_DEFS = "#/$defs/"
_SUFFIX = ".schema.json"


def config_schema(entry: Entry | None = None) -> dict[str, Any]:
    """The schema of a config, of this Job or of any."""
    schema = _untitled(Config.model_json_schema(by_alias=True))
    kinds = {name: schema["$defs"][kind.__name__] for name, kind in sections(Config).items()}
    for kind in (schema, *kinds.values()):
        for name in kind["properties"].keys() - {*kind.get("required", ()), *kinds}:
            _accept_null(kind["properties"][name])
    for name, kind in kinds.items():
        schema["properties"][name] = {"$ref": schema["properties"][name]["$ref"]}
        if not kind.get("required"):  # one whose keys are all commented out is null
            kind["type"] = ["object", "null"]
    _with_options(kinds["slurm"])
    if entry:
        _with_job(entry, kinds["job"], schema["$defs"])
    # An included config may say what has to be said.
    required = {name: {"required": kind.pop("required")} for name, kind in kinds.items() if "required" in kind}
    wanted = {"required": schema.pop("required"), "properties": required}
    return {
        "$schema": _DRAFT,
        "title": "config.yaml of launcher",
        **schema,
        "if": {"required": ["include"]},
        "else": wanted,
    }


def schema_file(config: Path) -> Path:
    """Where the schema of a config lies: beside it, so that the pair may be moved and shared, and no network is needed."""
    return config.with_name(config.name.removesuffix(".yaml").removesuffix(".yml") + _SUFFIX)


def modeline(config: Path) -> str:
    """The comment by which editors find it."""
    return f"# yaml-language-server: $schema={schema_file(config).name}"


def encoded(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def write_schema(path: Path, schema: Mapping[str, Any]) -> None:
    """Replaces an older one as a whole."""
    write_bytes(Path(os.path.abspath(path)), encoded(schema).encode())


def _untitled(schema: Any) -> Any:
    """Without the titles that pydantic makes of names; a key may be called so."""
    if isinstance(schema, list):
        return list(map(_untitled, schema))
    if not isinstance(schema, dict):
        return schema
    return {key: _untitled(value) for key, value in schema.items() if key != "title" or isinstance(value, dict)}


def _accept_null(form: dict[str, Any]) -> None:
    """It is the default of each key that need not be there."""
    if "anyOf" in form:
        form["anyOf"] = [*(one for one in form["anyOf"] if one != {"type": "null"}), {"type": "null"}]
        return
    kinds = form.get("type", [])
    form["type"] = [*([kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind != "null"]), "null"]
    if "enum" in form:
        form["enum"] = [*form["enum"], None]


def _with_options(section: dict[str, Any]) -> None:
    """The options of sbatch, offered with _, known with - too."""
    known = section["properties"]
    del known["options"]
    dashed: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(OPTIONS - COMPUTED.keys() - {name.replace("_", "-") for name in known}):
        known[name.replace("-", "_")] = {"type": forms(name), "description": f"sbatch --{name}"}
        dashed.setdefault(tuple(forms(name)), []).append(name)
    dashed[()] = [name.replace("_", "-") for name in known if "_" in name]
    own = {f"^({'|'.join(names)})$": {"type": list(kinds)} if kinds else {} for kinds, names in dashed.items()}
    section["patternProperties"] = own


def _with_job(entry: Entry, section: dict[str, Any], definitions: dict[str, Any]) -> None:
    section["properties"]["class"]["const"] = entry.path
    params = section["properties"]["params"]
    params["properties"] = {one.name: _parameter(one, definitions) for one in entry.parameters}
    params["additionalProperties"] = takes_any(entry.cls)
    if needed := [one.name for one in entry.parameters if one.required]:
        params["required"] = needed


def _parameter(parameter: Parameter, definitions: dict[str, Any]) -> dict[str, Any]:
    """By the annotation of the constructor; of a type that is none for plain data, only what it is for."""
    kind: dict[str, Any] = {}
    if parameter.kind is not UNKNOWN:
        try:
            kind = _untitled(TypeAdapter(parameter.kind).json_schema(ref_template=f"{_DEFS}{parameter.name}.{{model}}"))
        except PydanticUserError:
            kind = {}
    definitions.update({f"{parameter.name}.{name}": form for name, form in kind.pop("$defs", {}).items()})
    default = {} if parameter.required else {"default": to_jsonable_python(parameter.default, fallback=repr)}
    return {**kind, **({"description": parameter.words} if parameter.words else {}), **default}
