"""ProcessTree: whoever was started below a process is found, whatever it did to get away."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from jobs.machine.process_stat import ProcessStat
from jobs.machine.process_tree import ProcessTree, shares

# Starts one in a session and environment of its own, and a child that starts another; says their pids, and at the next line
# ends the child.
_FAMILY = """
import subprocess, sys
away = subprocess.Popen(["setsid", "env", "-i", "sleep", "600"])
child = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; read line"], stdin=-1, stdout=-1, text=True)
print(away.pid, child.pid, child.stdout.readline().strip(), flush=True)
sys.stdin.readline()
child.stdin.close()
child.wait()
print("ended", flush=True)
sys.stdin.readline()
"""


class Family:
    """A process, and what it has started."""

    def __init__(self, top: "subprocess.Popen[str]") -> None:
        assert top.stdin
        assert top.stdout
        self._top, self._stdin, self._stdout = top, top.stdin, top.stdout
        self.top = top.pid
        self.away, self.child, self.grandchild = map(int, top.stdout.readline().split())

    def end_child(self) -> None:
        self._stdin.write("\n")
        self._stdin.flush()
        assert self._stdout.readline() == "ended\n"

    def end(self) -> None:
        for pid in (self.away, self.child, self.grandchild):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._top.kill()


@pytest.fixture
def family() -> Iterator[Family]:
    with subprocess.Popen([sys.executable, "-c", _FAMILY], stdin=-1, stdout=-1, text=True) as process:
        found = Family(process)
        yield found
        found.end()


def test_all_below_a_process_are_found_and_no_others(family: Family) -> None:
    all_ = {family.top, family.away, family.child, family.grandchild}
    tree = ProcessTree(family.top)
    assert tree.look().keys() == tree.look().keys() == all_
    ours = ProcessTree(os.getpid()).look()
    assert ours.keys() >= {os.getpid(), *all_}
    assert shares(ours, [family.top]) == {family.top: all_}


def test_one_that_was_seen_stays_though_its_parent_is_gone(family: Family) -> None:
    tree = ProcessTree(family.top)
    assert family.grandchild in tree.look()
    family.end_child()
    assert tree.look().keys() == {family.top, family.away, family.grandchild}


def test_a_process_that_is_gone_has_no_tree() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert ProcessTree(process.pid).look() == {}


def test_the_time_of_children_counts_once_they_were_waited_for() -> None:
    before = ProcessStat.of(os.getpid())
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    after = ProcessStat.of(os.getpid())
    assert before
    assert after
    assert after.reaped_seconds >= before.reaped_seconds + 0.25  # both are in whole hundredths, cut off
    assert after.cpu_seconds <= time.process_time() + 0.05


def test_what_is_below_another_top_is_that_ones_alone() -> None:
    parents = {1: 0, 2: 1, 3: 2, 4: 3, 5: 1, 6: 5}
    stats = {pid: ProcessStat("S", parent, 0.0, 0.0, 0) for pid, parent in parents.items()}
    assert shares(stats, [2, 3, 7]) == {2: {2}, 3: {3, 4}}
