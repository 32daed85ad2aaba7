"""What a user's module has started does not keep a program that has done its work."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.launcher_runs import datasets, environment, launcher, run_of, write_config
from tests.support.patience import PATIENCE

ENDLESS = "import threading, time\nthreading.Thread(target=lambda: time.sleep(10**6), name='mine').start()\n"
LEFT = {
    "a thread": (ENDLESS, "is left: mine"),
    "a pool": (
        "import threading\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "ThreadPoolExecutor(thread_name_prefix='pool').submit(threading.Event().wait)\n",
        "is left: pool_0",
    ),
    "an exit handler": ("import atexit, time\natexit.register(time.sleep, 10**6)\n", "is left: an exit handler"),
}


@pytest.mark.parametrize("what", LEFT)
def test_a_program_ends_with_its_exit_code_whatever_still_runs_in_it(what: str) -> None:
    module, said = LEFT[what]
    program = (
        "import sys\nfrom jobs.machine import leftovers\nleftovers._SECONDS = 0.1\n"
        f"{module}sys.exit(leftovers.leave_soon(7))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], env=environment(), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 7
    assert said in done.stderr


@pytest.mark.thorough
def test_a_run_whose_module_starts_a_thread_comes_to_its_end(tmp_path: Path) -> None:
    """Of all programs that import it: the command, and the executor, which gathers."""
    (tmp_path / "threaded_sum.py").write_text(
        f"{ENDLESS}from tests.example_jobs.toy_jobs import Toy\n\n\nclass Sum(Toy):\n"
        "    def reduce(self, state, block):\n        return {'rows': len(block['y']) + (state or {'rows': 0})['rows']}\n"
    )
    config = write_config(tmp_path, rows=16, job="threaded_sum:Sum")
    done = launcher(tmp_path, "run", config)
    assert done.returncode == 0, done.stderr
    assert datasets(run_of(config).result)["summary/rows"] == 16
