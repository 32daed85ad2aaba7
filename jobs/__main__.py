"""``python -m jobs RUN SUBMISSION INDEX [--parent PID]``: runs one array task on this node.

Called by the batch script (exec, so that Slurm's signals arrive here) and by the local executor. INDEX defaults to
SLURM_ARRAY_TASK_ID. Exit codes: 0 all shards of the task are done; 1 one failed; 2 bad input; 74 the run directory cannot be
written; 75 stopped, resumable.
"""

import sys


def main() -> int:
    # Imported here: the fork server and its children import this module's name, and need nothing of it.
    from jobs.node.command import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
