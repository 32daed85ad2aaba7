"""The door of the finalize job: ``python -m launcher.slurm_finalize RUN NUMBER...``.

The scripts of runs name it, also of those that older versions made, so it stays; what it does is in
launcher.slurm.finalize_job.
"""

import sys

from jobs.machine import inherited_signals, streams
from jobs.machine.imports import many_imports
from jobs.machine.leftovers import leave_soon
from jobs.machine.permissions import keep_out_others

with many_imports():
    from launcher.slurm.finalize_job import main

if __name__ == "__main__":
    streams.prepare()
    inherited_signals.prepare()
    keep_out_others()
    sys.exit(leave_soon(main(sys.argv[1:])))
