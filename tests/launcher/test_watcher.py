"""What a Job has started in `launcher try` does not outlive that one where it is killed."""

import subprocess
import sys

import psutil
import pytest

from tests.support.launcher_runs import ROOT, wait_until
from tests.support.patience import PATIENCE
from tests.support.task_runs import alive

# A program in a session of its own, and a fork, which has the pipe to the watcher, too.
TRYING = """
import os, subprocess, sys, time
from launcher.tryout.watcher import watched

with watched():
    left = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    if os.fork() == 0:
        time.sleep(30)
        os._exit(0)
    print(left.pid, flush=True)
    sys.stdin.readline()
print("over", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("is_killed", [True, False])
def test_programs_end_with_the_try_that_has_started_them_where_that_is_killed(is_killed: bool) -> None:
    trying = psutil.Popen(
        [sys.executable, "-c", TRYING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        left = psutil.Process(int(trying.stdout.readline()))
        others = [one for one in trying.children() if one != left]
        watcher, fork = sorted(others, key=lambda one: "watcher.py" not in " ".join(one.cmdline()))
        if is_killed:
            trying.kill()
            wait_until(lambda: not alive([left, watcher]))
        else:
            trying.stdin.write("\n")
            trying.stdin.flush()
            assert trying.stdout.readline() == "over\n"
            assert alive([left, watcher]) == [left]
    finally:
        for one in (trying, left, fork):
            one.kill() if one.is_running() else None
        trying.wait(PATIENCE)
        trying.stdin.close()
        trying.stdout.close()
