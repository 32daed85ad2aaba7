"""Watcher: ends the programs of a process that is gone, those too that left its process group.

Programs starts it as a script, the leader of the group that the programs join. At the end of its input, which comes
however its owner dies, it kills every process that has the owner's mark in its environment, and last the group with itself.
It imports little, so that it is small and starts fast.
"""

import contextlib
import os
import signal
import sys
import time

# A program that was being started when the owner died has the mark a moment later.
_PAUSE = 0.05
_QUIET_LOOKS = 3


def main(mark: str) -> None:
    """Waits for the end of standard input, then leaves nobody."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # schedulers send them to everybody; the owner decides
    while os.read(0, 1):
        pass
    quiet = 0
    while quiet < _QUIET_LOOKS:
        processes = (int(name) for name in os.listdir("/proc") if name.isdigit())
        found = [pid for pid in processes if is_marked(pid, mark)]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        quiet = 0 if found else quiet + 1
        time.sleep(_PAUSE)
    os.killpg(0, signal.SIGKILL)


def is_marked(pid: int, mark: str) -> bool:
    """Whether the process was started with the mark in its environment, by us or by one that we started."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark.encode() in file.read().split(b"\0")
    except OSError:  # gone, or another user's
        return False


if __name__ == "__main__":
    main(sys.argv[1])
