"""What is wrong with a config: checks a mapping against the models and words each mistake.

A problem is a key path and a message; origins.py says where that key is.
"""

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jobs.nearest import did_you_mean, nearest
from launcher.config.data_section import RunManifest, is_of_run
from launcher.config.old_values import is_old_switch
from launcher.config.origins import Problem, dotted
from launcher.config.sbatch_options import OPTIONS, check_option, nearest_options, option_name
from launcher.config.sections import SlurmSection
from launcher.config.values import check_manifest_name, check_sources
from launcher.config.yaml_lines import KeyPath

Model = TypeVar("Model", bound=BaseModel)
_SLURM_KEYS = SlurmSection.model_fields.keys() - {"options"}


def check_mapping(model: type[Model], data: Mapping[str, Any]) -> tuple[Model | None, list[Problem]]:
    """The model of the data, None where it cannot be made, and all problems."""
    # Null means the default; a section whose keys are all commented out is null in YAML.
    filled = {"job": {}, "data": {}, **_said(data, model)}
    filled.update(
        {key: _said(filled[key], of) for key, of in sections(model).items() if isinstance(filled.get(key), dict)}
    )
    slurm, problems = _split_slurm(filled.get("slurm", {}))
    problems += _params_problems(filled["job"])
    filled["data"], wrong = _check_data(filled["data"])
    problems += wrong
    found, wrong = check_fields(model, {**filled, "slurm": slurm})
    return found, problems + wrong


def _said(section: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if value is not None or key not in _keys(model)}


def check_fields(model: type[Model], data: Mapping[str, Any]) -> tuple[Model | None, list[Problem]]:
    """The model of the data, None where it cannot be made, and what is wrong with single fields."""
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        found = error.errors()
        meant = set(_meant(found, model))
        return None, [_worded(details, model) for details in found if details["loc"] not in meant]


def _split_slurm(section: Any) -> tuple[Any, list[Problem]]:
    """The section with its sbatch options checked and moved below ``options``."""
    if not isinstance(section, dict):
        return section, []
    own, options, problems = _split_options(section, ("slurm",), _SLURM_KEYS)
    if isinstance(own.get("finalize"), dict):
        _, finalize, wrong = _split_options(own["finalize"], ("slurm", "finalize"), frozenset())
        # Here null says something: not what the array asks for.
        own["finalize"] = dict.fromkeys(map(option_name, own["finalize"])) | finalize
        problems += wrong
    return {**own, "options": options}, problems


def _split_options(
    section: Mapping[str, Any], above: KeyPath, keys: Set[str]
) -> tuple[dict[str, Any], dict[str, Any], list[Problem]]:
    """What is below these ``keys``, the sbatch options, checked, and what is wrong with them."""
    own: dict[str, Any] = {}
    options: dict[str, Any] = {}
    problems: list[Problem] = []
    for key, value in section.items():
        name, spelled = option_name(key), key.replace("-", "_")
        path = (*above, spelled)
        if spelled in own or name in options:
            problems.append((path, f"is written twice, with '_' and with '-': keep {spelled}"))
        elif spelled in keys:
            own[spelled] = value
        elif name not in OPTIONS:
            problems.append((path, _unknown(path, sorted(keys), {})))
        elif value is not None:
            try:
                options[name] = check_option(name, value)
            except ValueError as error:
                problems.append((path, str(error)))
    return own, options, problems


def _check_data(section: Any) -> tuple[Any, list[Problem]]:
    """The section, and what is wrong in it between two keys, or in each of several manifests, which are left out then."""
    if not isinstance(section, dict):
        return section, []
    both = section.get("shards") is not None and section.get("samples_per_shard") is not None
    problem = "cannot be given together with data.shards: keep one (the other: null)"
    problems: list[Problem] = [(("data", "samples_per_shard"), problem)] if both else []
    named = section.get("manifest")
    if is_of_run(named):
        _, wrong = check_fields(RunManifest, named)
        problems += [(("data", "manifest", *path), message) for path, message in wrong]
        return ({**section, "manifest": "-"} if wrong else section), problems
    section = dict(section)
    for name, sources in named.items() if isinstance(named, dict) else ():
        try:
            check_manifest_name(name)
            check_sources(sources)
        except ValueError as error:
            problems.append((("data", "manifest", name), str(error)))
            section["manifest"] = {**section["manifest"], name: "-"}
    return section, problems


def _params_problems(section: Any) -> Iterator[Problem]:
    """Params are stored as JSON and passed as keyword arguments, so they have to be both."""
    params = section.get("params") if isinstance(section, dict) else None
    for key, value in params.items() if isinstance(params, dict) else ():
        path = ("job", "params", key)
        if not key.isidentifier():
            yield path, "cannot be a keyword argument of the class: letters, digits and '_' only"
        yield from _not_plain(value, path)


def _not_plain(value: Any, path: KeyPath) -> Iterator[Problem]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _not_plain(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_plain(item, (*path, index))
    elif not isinstance(value, str | int | float | None):
        kind = type(value).__name__
        yield path, f"must be text, a number, true, false, null, a list or a mapping, not a {kind}"


def sections(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The models of the keys that hold mappings."""
    kinds = ((name, field.annotation) for name, field in model.model_fields.items())
    return {name: kind for name, kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)}


def _keys(model: type[BaseModel]) -> list[str]:
    """The keys of a section as users write them."""
    return [field.alias or name for name, field in model.model_fields.items() if name != "options"]


def _meant(errors: Sequence[ErrorDetails], model: type[BaseModel]) -> Iterator[KeyPath]:
    """Keys that are required, and are there, misspelt or below a section that is: the unknown key tells it."""
    missing = {details["loc"] for details in errors if details["type"] == "missing"}
    for path in (details["loc"] for details in errors if details["type"] == "extra_forbidden"):
        for name in nearest(str(path[-1]), _keys(_section(path, model))):
            meant = (*path[:-1], name)
            yield from (one for one in missing if one[: len(meant)] == meant)


def _section(path: KeyPath, model: type[BaseModel]) -> type[BaseModel]:
    """The model that a key is of."""
    return sections(model)[str(path[0])] if len(path) > 1 else model


def _worded(details: ErrorDetails, model: type[BaseModel]) -> Problem:
    path, kind = details["loc"], details["type"]
    inner = sections(model)
    around = _section(path, model)
    if kind == "extra_forbidden":
        return path, _unknown(path, _keys(around), {name: _keys(kind) for name, kind in inner.items()})
    if kind == "missing":
        meanings = {field.alias or name: field.description for name, field in around.model_fields.items()}
        return path, f"is required: {meanings[str(path[-1])]}"
    return path, worded_value(details)


def worded_value(details: ErrorDetails) -> str:
    """What a value must be, and what it is."""
    kind, value = details["type"], details["input"]
    if kind == "value_error":
        return details["msg"].removeprefix("Value error, ")
    if kind in ("model_type", "dict_type"):
        return f"must be a mapping, lines of `key: value` below it, not {shown(value)}"
    if kind == "string_type" and not isinstance(value, dict | list | None):
        return f"must be text, not {shown(value)}: write it in quotes"
    if kind == "string_type":
        return f"must be text, not {shown(value)}; text with ': ' in it, or that begins with [ or {{, has quotes of its own"
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "missing":
        return f"lacks {details['loc'][-1]!r}"
    plain = details["msg"].replace("Input should be", "must be").replace("a valid integer", "a whole number")
    plain = plain.replace("a valid boolean", "true or false")
    if kind == "bool_type" and is_old_switch(value):
        return f"{plain}, not {shown(value)}: {value} is text, as YAML 1.2 has it"
    return f"{plain}, not {shown(value)}"


def shown(value: Any) -> str:
    """A value in a message: as JSON, so as it is written in the config."""
    return json.dumps(value, default=repr, ensure_ascii=False)


def _unknown(path: KeyPath, valid: Sequence[str], sections: Mapping[str, Sequence[str]]) -> str:
    """The message for an unknown key: the nearest valid one, here or elsewhere, and all valid here."""
    key, above = str(path[-1]), path[:-1]
    near = [dotted((*above, name)) for name in nearest(key, valid)]
    if not near and path[0] == "slurm":
        near = [dotted((*above, name)) for name in nearest_options(key)]
    for name, keys in sections.items() if not near else ():
        near += [f"{name}.{other}" for other in nearest(key, keys, cutoff=0.8)]
    near = near or ([f"slurm.{key}"] if sections and option_name(key) in OPTIONS else [])
    more = ["sbatch's long options (man sbatch)"] if path[0] == "slurm" else []
    listed = " and ".join([*filter(None, [", ".join(valid)]), *more])
    return f"unknown key.{did_you_mean(near, as_sentence=True)} Valid keys: {listed}"
