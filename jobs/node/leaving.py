"""Leaving: the end of a child whose Job is torn down, which threads and processes that the Job has left must not hold up."""

import os
import threading
import time

from jobs.node.log import ERR, say

# Python waits at its end for threads that are no daemons, and for multiprocessing's children: uploads may be under way.
_SECONDS = 5.0


def leave() -> None:
    """Ends this process in some seconds if it does not end by itself."""
    threading.Thread(target=_cut_off, name="leaving", daemon=True).start()


def leave_soon(code: int) -> None:
    """Ends this process, which can do no more, in some seconds, whatever its Job still does."""

    def cut_off() -> None:
        time.sleep(_SECONDS)
        os._exit(code)

    threading.Thread(target=cut_off, name="leaving", daemon=True).start()


def _cut_off() -> None:
    time.sleep(_SECONDS)
    say(f"threads or processes that the Job has left running are cut off, {_SECONDS:g} s after teardown()", ERR)
    os._exit(os.EX_OK)
