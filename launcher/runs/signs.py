"""Signs of life: a file that names a process, which touches it while it lives, so that other machines can see that it does."""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jobs.machine.process_identity import ProcessIdentity, host_name
from jobs.storage.files import server_time

# A process shows that it lives by touching its file this often; seconds.
HEARTBEAT = 30.0
_SILENCE = 10 * HEARTBEAT


def lives(process: Mapping[str, Any], touched: float, folder: Path) -> bool:
    """Whether a recorded process goes on, as far as this machine can tell: of one elsewhere, by when its file was touched."""
    owner = ProcessIdentity.from_json(process)
    if owner.is_here:
        return owner.is_alive
    longest = _SILENCE
    if owner.host == host_name():  # of another machine of this name, or of this one, before it was booted
        longest = min(longest, time.clock_gettime(time.CLOCK_BOOTTIME))
    # Both by the clock of the file server: that of this machine may be minutes ahead.
    return server_time(folder) - touched < longest


@contextmanager
def touching(paths: Sequence[Path]) -> Iterator[None]:
    """Touches the files of this process until it leaves the block."""
    closed = threading.Event()

    def touch() -> None:
        while not closed.wait(HEARTBEAT):
            for path in paths:
                with suppress(OSError):
                    os.utime(path)

    thread = threading.Thread(target=touch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        thread.join()
