"""Configs of runs that come after each other, in one folder."""

import json
from pathlib import Path
from typing import Any

from jobs.storage.rundir import RunDir

EVERYTHING = "tests.example_jobs.toy_jobs:Everything"


def write_rows(folder: Path, rows: int = 40) -> str:
    """A manifest with the column ``x`` = 0, 1, 2 ...; returns its name."""
    (folder / "data.csv").write_text("x\n" + "".join(f"{row}\n" for row in range(rows)))
    return "data.csv"


def write_run(
    folder: Path, name: str, manifest: Any, job: str = EVERYTHING, params: Any = None, **sections: Any
) -> Path:
    """The config of a run of 4 shards; returns its path."""
    data = {"manifest": manifest, "shards": 4, **sections.pop("data", {})}
    node = {"workers": 1, "batch_size": 4, "max_failed_samples": 1.0, "sync_interval": 0.2, **sections.pop("node", {})}
    executor = {"executor": "local", "local": {"parallelism": 1}}
    config = {
        "name": name,
        "job": {"class": job, "params": params or {}},
        "data": data,
        "node": node,
        **executor,
        **sections,
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(config))
    return path


def run_in(folder: Path, name: str) -> RunDir:
    return RunDir(folder / "runs" / name)
