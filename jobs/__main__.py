"""``python -m jobs RUN SUBMISSION INDEX [--parent PID]``: runs one array task on this node.

Called by the batch script (exec, so that Slurm's signals arrive here) and by the local executor. INDEX defaults to
SLURM_ARRAY_TASK_ID. What it exits with is in exit_codes.py.
"""

import os
import sys

from jobs.machine import environment, inherited_signals, streams
from jobs.machine.imports import many_imports
from jobs.machine.permissions import keep_out_others
from jobs.node.supervisor.signals import Signals


def main() -> int:
    signals = Signals()  # first: what comes before it is lost, or the end
    streams.prepare()
    inherited_signals.prepare()
    environment.prepare()
    keep_out_others()
    with many_imports():
        # Here, because what it imports, numpy in the end, starts as many threads as the environment says.
        from jobs.node.supervisor.entry_point import run
    return run(sys.argv[1:], signals)


if __name__ == "__main__":
    code = main()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Python takes 40 ms to take itself apart; all files are written and all children gone.
    os._exit(code)
