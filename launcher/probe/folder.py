"""The folder of a probe: its throw-away run, planned as the real one will be, and its trials."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.errors import RunError
from jobs.machine.scratch import make_scratch
from jobs.storage.upstreams import Upstream
from launcher.config.config import Config
from launcher.config.upstreams import with_paths
from launcher.plan.plan import Planned, make_plan

_WHY = ", and a probe takes samples from all over it; one that it has done: launcher try CONFIG --row N"


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
        planned = make_plan(with_paths(config).model_copy(update={"runs": str(folder), "name": "plan"}))
        if (upstream := Upstream.of(planned.plan)) and (problem := _not_ready(upstream)):
            raise RunError(f"{config.path}: nothing can be tried yet: {problem}")
        yield planned
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for path in made:
            if not any(path.iterdir()):
                path.rmdir()


def _not_ready(upstream: Upstream) -> str | None:
    """Why samples from all over a run cannot be read; None where they can."""
    return upstream.objection() or (f"run {upstream.name} is not complete{_WHY}" if upstream.to_come() else None)
