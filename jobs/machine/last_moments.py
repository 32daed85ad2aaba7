"""LastMoments: the end of a process that can do no more, or has no more to do, whatever threads it has."""

import os
import threading
import time

SECONDS = 5.0
"""Python waits at its end for threads that are no daemons, and for multiprocessing's children: uploads may be under way."""


def leave_soon(code: int) -> None:
    """Ends this process in some seconds, whatever its Job still does, if it does not end by itself."""

    def cut_off() -> None:
        time.sleep(SECONDS)
        os._exit(code)

    threading.Thread(target=cut_off, name="leaving", daemon=True).start()
