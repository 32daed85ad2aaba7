"""Inherited signals: a program starts with those that its starter had blocked or ignored; some of them it needs."""

import signal


def prepare() -> None:
    """To be called before anything is started. What is ignored for good reason (nohup) stays so."""
    # Without it nobody learns how a child ended: the kernel forgets it at once.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Of a thread that had blocked them, say: a request to stop would never arrive, here and in all that is started.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
