"""Compute threads: one in every child of an array task, and in a process on a CPU its share of the task's CPUs.

Numeric libraries have one from the environment (environment.py); here a process gets more.
"""

import sys


def use(count: int) -> None:
    """Sets the compute threads of this process: the libraries that are loaded have one."""
    if count > 1:
        import threadpoolctl

        threadpoolctl.threadpool_limits(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
