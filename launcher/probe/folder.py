"""The folder of a probe: its throw-away run, planned as the real one will be, and its trials."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.machine.scratch import make_scratch
from launcher.config.config import Config
from launcher.plan.plan import Planned, make_plan


@contextmanager
def throw_away_run(config: Config) -> Iterator[Planned]:
    """The config's run, planned in a hidden folder beside the runs, so on their file system; removed at the end.

    Raises InputError for all that is wrong with the config, as planning does.
    """
    runs = config.resolve(config.runs)
    made = [path for path in (runs, *runs.parents) if not path.exists()]
    runs.mkdir(parents=True, exist_ok=True)
    folder = make_scratch(runs, ".probe-")
    try:
        yield make_plan(config.model_copy(update={"runs": str(folder), "name": "plan"}))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for path in made:
            if not any(path.iterdir()):
                path.rmdir()
