"""Leaving: the end of a child whose Job is torn down, which threads and processes that the Job has left must not hold up."""

import os
import threading
import time

from jobs.machine.last_moments import SECONDS
from jobs.node.log import ERR, say


def leave() -> None:
    """Ends this process in some seconds if it does not end by itself."""
    threading.Thread(target=_cut_off, name="leaving", daemon=True).start()


def _cut_off() -> None:
    time.sleep(SECONDS)
    say(f"threads or processes that the Job has left running are cut off, {SECONDS:g} s after teardown()", ERR)
    os._exit(os.EX_OK)
