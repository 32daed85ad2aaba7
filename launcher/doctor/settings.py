"""Settings: what of a config is not a default, and which file and line, or which command, says so."""

from dataclasses import dataclass
from typing import Any

from launcher.config.config import Config, default_config
from launcher.config.origins import dotted, spelled, values_of
from launcher.notify.dispatch import in_short


@dataclass(frozen=True)
class Chosen:
    """A setting that somebody has chosen."""

    key: str
    value: Any
    origin: str


def chosen_settings(config: Config) -> list[Chosen]:
    """In the order of a config. Whom ``notify`` tells is shortened: it may be secret, and this is for others to read."""
    defaults = dict(values_of(default_config().to_mapping()))
    found = []
    for path, value in values_of(config.to_mapping()):
        origin = config.origins.where(path)
        if origin is None or defaults.get(path, ...) == value:
            continue
        if path == ("notify",):
            value, origin = f"{in_short(value)} ...", origin.partition("=")[0]
        found.append(Chosen(dotted(spelled(path)), value, origin))
    return found
