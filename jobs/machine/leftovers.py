"""Leftovers: what a user's module has left running in a program that ends, having imported it.

A thread that is no daemon, a pool, a process keeps Python from ending for as long as it runs.
"""

import os
import sys
import threading
import time

# Far more than an end takes at which nothing is left.
_SECONDS = 5.0


def leave_soon(code: int) -> int:
    """To be called last: in some seconds the process ends with this exit code, whatever runs on in it. Returns the code."""
    threading.Thread(target=_leave, args=(code,), daemon=True).start()
    return code


def _leave(code: int) -> None:
    time.sleep(_SECONDS)
    threads = [one.name for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]
    what = ", ".join(threads) or "an exit handler, or a process"
    try:
        print(f"launcher: what the Job's module has started does not end, and is left: {what}", file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(code)
