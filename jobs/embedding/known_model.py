"""KnownModel: a model whose files say with which features it was trained, asked when the job is made; imports no torch."""

import json
from pathlib import Path
from typing import Any

from jobs.embedding.torch_model import is_factory
from jobs.embedding.transformer import resolve_model
from jobs.errors import InputError
from jobs.inputs import bad_parameter, need_packages

_SCRIPTS = (".pt", ".pth")
# What transformers writes about models of images, which have no vocabulary, and of sound, which may have one.
_OF_IMAGES, _OF_SOUND = {"image_size", "num_channels"}, {"num_mel_bins", "feat_extract_norm"}


def whisper_model(
    model: str, params: dict[str, Any] | None, features: str, mels: int
) -> tuple[str, dict[str, Any] | None]:
    """The model and its params: of a folder or a name on the hub, one of ``WhisperEncoder``; all else as it is.

    Raises InputError where its files say that it was trained with other features.
    """
    path = Path(model).expanduser()
    config = _config(path)
    is_whisper = config.get("model_type") == "whisper"
    if features != "whisper":
        if is_whisper:
            raise bad_parameter("features", features, f"whisper, which {model} was trained with")
        return model, params
    if path.is_file() or is_factory(model) or path.suffix in _SCRIPTS:
        return model, params
    if config and not is_whisper:
        raise bad_parameter("features", features, f"for a Whisper model; {model} is of type {config.get('model_type')}")
    need_packages("a Whisper model by its name", "whisper")
    if params:
        raise bad_parameter("model_params", params, "none for a Whisper model")
    if config:
        need_mels(config["num_mel_bins"], mels)
    return "jobs.embedding.whisper_encoder:WhisperEncoder", {"source": resolve_model(model), "mels": mels}


def need_text_model(model: str) -> None:
    """Raises InputError for a folder whose files say that it is a model of images or of sound."""
    config = _config(Path(model).expanduser())
    is_of_images = _OF_IMAGES & config.keys() and "'vocab_size'" not in repr(config)
    if is_of_images or _OF_SOUND & config.keys():
        what, job = ("images", "ImageEmbedding") if is_of_images else ("sound", "AudioEmbedding")
        kind = f"{model} (of type {config.get('model_type')}) is a model of {what}"
        raise InputError(f"model: {kind}; valid: one of text, with its tokenizer. For {what}: {job}")


def _config(folder: Path) -> dict[str, Any]:
    """What transformers wrote about the model in a folder; empty where there is no such file."""
    try:
        found = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def need_mels(of_model: int, mels: int) -> None:
    """Raises InputError for another number than the model was trained with."""
    if of_model != mels:
        raise bad_parameter("mels", mels, f"{of_model}, as the model was trained with")
