"""What is below a warden ends with the process that has started it, and as it does without."""

import subprocess
import sys

import psutil
import pytest

from jobs.program.warden import guarded
from tests.support.launcher_runs import ROOT, wait_until
from tests.support.patience import PATIENCE
from tests.support.task_runs import alive

# A program that heeds no SIGTERM, and one in a session of its own that it has left running.
STARTER = """
import subprocess
from jobs.program.warden import guarded

program = 'trap "" TERM; setsid sleep 1000 & echo $!; sleep 1000; true'
subprocess.run(guarded(["sh", "-c", program]))
"""


@pytest.mark.parametrize("whom", ["starter", "warden"])
def test_nothing_is_left_of_a_program_when_who_started_it_or_its_warden_is_killed(whom: str) -> None:
    starter = psutil.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        left = psutil.Process(int(starter.stdout.readline()))
        (warden,) = starter.children()
        (program,) = warden.children()
        {"starter": starter, "warden": warden}[whom].kill()
        # Killed itself, it ends the program by the kernel's hand, and what that has left stays.
        ended = [warden, program, left] if whom == "starter" else [warden, program]
        wait_until(lambda: not alive(ended))
    finally:
        starter.kill()
        starter.wait(PATIENCE)
        left.kill() if left.is_running() else None
        starter.stdout.close()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sh", "-c", "exit 3"], 3),
        (["sh", "-c", "kill -9 $$"], -9),
        (["sh", "-c", "kill -TERM $$"], -15),
        (["nonesuch"], 127),
    ],
)
def test_a_program_ends_as_it_does_without_a_warden(command: list[str], code: int) -> None:
    done = subprocess.run(guarded(command), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == code
    assert done.stderr == ("No such file or directory\n" if code == 127 else "")


def test_what_a_program_has_left_running_leaves_no_zombie() -> None:
    program = "sh -c 'sleep 0.01 & echo $!'; read line"
    with psutil.Popen(guarded(["sh", "-c", program]), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as warden:
        left = int(warden.stdout.readline())
        wait_until(lambda: not psutil.pid_exists(left))
        warden.stdin.close()
        assert warden.wait(PATIENCE) == 1
