"""Compute threads: one in every child of an array task, and in a process on a CPU its share of the task's CPUs.

Libraries read the environment when they are imported, so it is set before the supervisor imports numpy; its forked
children inherit it.
"""

import os
import sys
from pathlib import Path

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def prepare() -> None:
    """Sets the environment of numeric libraries that are imported from now on, here and in forked processes."""
    for name in _VARIABLES:
        os.environ[name] = "1"
    os.environ.setdefault("MKL_CBWR", _mkl_branch())
    # Threads that wait by spinning take the CPUs from pool workers and from other array tasks.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _mkl_branch() -> str:
    """Asks MKL for results that do not depend on the number of threads, at the machine's own vector width."""
    return "AVX512,STRICT" if "avx512f" in Path("/proc/cpuinfo").read_text() else "AVX2,STRICT"


def use(count: int) -> None:
    """Sets the compute threads of this process: the libraries that are loaded have one."""
    if count > 1:
        import threadpoolctl

        threadpoolctl.threadpool_limits(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
