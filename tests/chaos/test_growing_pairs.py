"""A run is extended, or cleaned, while another command is at it: both end, and no sample is lost or has another's values.

CHAOS_PAIRS=40 in the environment tries all of them, in some minutes.
"""

import itertools
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs.storage.plans import Plan
from launcher import results
from tests.chaos.test_pairs import has_ended
from tests.support.chaos import amount
from tests.support.launcher_runs import kill, launcher, run_of, start, wait_until, write_config
from tests.support.patience import PATIENCE
from tests.support.task_runs import done_rows

ROWS, NEW = 120, 7
EXTEND, CLEAN = ("extend", "RUN", "more.csv"), ("clean", "RUN", "--yes")
OTHERS = [("run", "config.yaml"), ("submit", "RUN"), ("rerun", "RUN"), ("rerun", "RUN", "--shards", "0-3"), ("gather", "RUN"),
          ("verify", "RUN"), ("cancel", "RUN"), EXTEND, CLEAN]  # fmt: skip
ALL = [
    *((EXTEND, other, state) for other, state in itertools.product(OTHERS, ("half", "done"))),
    *((CLEAN, other, "done") for other in OTHERS),
]
PAIRS: list[Any] = [
    (EXTEND, ("rerun", "RUN"), "half"),
    pytest.param(EXTEND, CLEAN, "done", marks=pytest.mark.thorough),
    (CLEAN, ("rerun", "RUN", "--shards", "0-3"), "done"),
]
if amount("PAIRS", 0):
    PAIRS = random.Random(1).sample(ALL, min(amount("PAIRS", 0), len(ALL)))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config, with copies of its run beside it: half done, and done; and new samples."""
    folder = tmp_path_factory.mktemp("growing")
    config = write_config(folder, job="Everything", params={"wait": 0.05}, data={"id": "id"})
    (folder / "data.csv").write_text("id,x\n" + "".join(f"s{row},{row}\n" for row in range(ROWS)))
    (folder / "more.csv").write_text("id,x\n" + "".join(f"n{row},{1000 + row}\n" for row in range(NEW)))
    process, run = start(folder, "run", config), run_of(config)
    wait_until(lambda: done_rows(run).count > ROWS // 4)
    kill(process)
    wait_until(lambda: has_ended(run))
    shutil.copytree(run.path, folder / "half")
    assert launcher(folder, "run", config).returncode == 0
    shutil.copytree(run.path, folder / "done")
    return config


@pytest.mark.parametrize(("first", "second", "state"), PAIRS, ids=str)
def test_both_end_and_every_sample_has_its_own_values(
    config: Path, first: tuple[str, ...], second: tuple[str, ...], state: str
) -> None:
    folder, run = config.parent, run_of(config)
    shutil.rmtree(run.path, ignore_errors=True)
    shutil.copytree(folder / state, run.path)
    begun = [start(folder, *(run.path if word == "RUN" else word for word in words)) for words in (first, second)]
    for words, process in zip((first, second), begun, strict=True):
        said, _ = process.communicate(timeout=PATIENCE)
        assert "Traceback" not in said, f"{words}: {said}"
        assert process.returncode in (0, 1, 2), f"{words}: {said}"
    wait_until(lambda: has_ended(run))
    again = launcher(folder, "run", config)
    assert again.returncode == 0, again.stdout + again.stderr
    expected = {f"s{row}": row for row in range(ROWS)}
    if Plan.read(run.plan).grown:
        expected |= {f"n{row}": 1000 + row for row in range(NEW)}
    with results.open(run.path) as found:
        assert found.complete
        assert dict(zip(found.ids.tolist(), found["label"].tolist(), strict=True)) == expected
    assert launcher(folder, "verify", run.path).returncode == 0
