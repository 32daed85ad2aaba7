"""The supervisor of a Hierarchy, started by its caller (link.py): ``__main__.py CALLER EXCHANGE``, two descriptors."""

import signal
import sys
from multiprocessing.connection import Connection


def main() -> None:
    # A Ctrl-C is the caller's; it was blocked while this interpreter started.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    caller, exchange = Connection(int(sys.argv[1])), int(sys.argv[2])
    try:
        sys.path[:] = caller.recv()
        from jobs.machine import environment, inherited_signals

        inherited_signals.prepare()  # a service may ignore the ends of its children
        environment.prepare()
        # Here, because it imports numpy, which starts as many threads as the environment says.
        from jobs.library.supervisor import Supervisor

        Supervisor(caller, exchange, caller.recv()).run()
    except (EOFError, ConnectionError):
        return  # the caller is gone


if __name__ == "__main__":
    main()
