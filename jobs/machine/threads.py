"""Compute threads: one in every child of an array task, and in a process on a CPU its share of the task's CPUs.

Numeric libraries have one from the environment (environment.py); here a process gets more.
"""

import sys

from jobs.machine.late_imports import after_import


def use(count: int) -> None:
    """Sets the compute threads of this process: the libraries that are loaded have one. So has torch, whenever it comes."""
    if count > 1:
        import threadpoolctl

        threadpoolctl.threadpool_limits(count)
    after_import("torch", lambda: sys.modules["torch"].set_num_threads(count))
