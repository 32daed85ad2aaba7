"""Upstreams: the runs that a config names: those that it is to come after, and the one whose samples it has.

A name is that of a run in the same folder of runs; with a / it is the path of a run directory, and a config stands for its run.
"""

from pathlib import Path

from launcher.config import ENDINGS
from launcher.config.config import Config
from launcher.config.place import run_folder_of


def upstream_path(config: Config, text: str) -> Path:
    """The run directory that a config means; InputError where that is said by another config, which is not right."""
    if text.endswith(ENDINGS):
        return run_folder_of(config.resolve(text))
    return config.resolve(text) if "/" in text else config.run_folder.parent / text


def with_paths(config: Config) -> Config:
    """The config with each of these as a path, whatever folder of runs it gets then."""
    after = tuple(str(upstream_path(config, text)) for text in config.after)
    if of_run := config.data.of_run:
        manifest = of_run.model_copy(update={"run": str(upstream_path(config, of_run.run))})
        config = config.model_copy(update={"data": config.data.model_copy(update={"manifest": manifest})})
    return config.model_copy(update={"after": after})


def upstream_paths(config: Config) -> tuple[Path, ...]:
    """All of them, the one whose samples it has first."""
    of_run = config.data.of_run
    texts = [*([of_run.run] if of_run else []), *config.after]
    return tuple(dict.fromkeys(upstream_path(config, text) for text in texts))
