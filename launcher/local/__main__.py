"""``python -m launcher.local RUN NUMBER``: the process that runs a local submission."""

import sys

from jobs.machine import inherited_signals, streams
from jobs.machine.imports import many_imports
from jobs.machine.leftovers import leave_soon

with many_imports():
    from launcher.local.local_process import main

if __name__ == "__main__":
    streams.prepare()
    inherited_signals.prepare()
    sys.exit(leave_soon(main(sys.argv[1:])))
