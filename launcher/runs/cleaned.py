"""Cleaned: that the data of a run's attempts were removed, since its result has them; in cleaned.json, written before that."""

import dataclasses
from dataclasses import dataclass

from jobs.errors import RunError
from jobs.storage import checked_json
from jobs.storage.files import exists, write_bytes
from jobs.storage.rundir import RunDir


@dataclass(frozen=True)
class Cleaned:
    """``time``: when; ``submission``: the last one that there was; ``seals`` are those of the results, checked byte by byte."""

    time: float
    submission: int
    seals: tuple[str, ...]

    def write(self, run: RunDir) -> None:
        write_bytes(run.cleaned, checked_json.encode(dataclasses.asdict(self)))


def refuse_cleaned(run: RunDir) -> None:
    """Raises RunError where the data are gone: new rows could not be put together with those that were done."""
    if exists(run.cleaned):
        raise RunError(
            f"{run.path}: was cleaned (launcher clean), so its result is all that there is of its samples, and nothing can be "
            "added or computed anew in it. All of it again: launcher run CONFIG --fresh; other samples: a run of another name"
        )
