"""Whatever a process has started is ended, also what comes up at the moment at which it looks."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.support.patience import PATIENCE
from tests.support.task_runs import runs

# Its child has a child. The first one dies once it is known who there is, and before it is known who is dead: that is when the
# second one comes up.
SCRIPT = """
import os, signal
from jobs.machine import descendants

descendants.adopt()
read, write = os.pipe()
child = os.fork()
if not child:
    os.closerange(1, 3)  # whoever is left would keep the test waiting
    grandchild = os.fork()
    if grandchild:
        os.write(write, str(grandchild).encode())
    signal.pause()
grandchild = int(os.read(read, 32))
look = descendants.children


def look_late():
    found = look()
    descendants.children = look
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    return found


descendants.children = look_late
{how}
print(grandchild, flush=True)
"""


@pytest.mark.parametrize("how", ["descendants.end(ask=False)", "descendants.kill(()) and descendants.end(ask=False)"])
def test_what_comes_up_while_its_parent_is_waited_for_is_ended(how: str) -> None:
    script = SCRIPT.replace("{how}", how)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=True)
    pid = int(done.stdout)
    try:
        assert not runs(pid)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
