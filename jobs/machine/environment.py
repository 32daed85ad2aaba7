"""Environment: what libraries read when they are imported. Set before the supervisor imports numpy; children inherit it."""

import os
from pathlib import Path

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def prepare() -> None:
    """For libraries that are imported from now on, here and in forked processes. But for threads, users' own values win."""
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    # MKL's results then do not depend on the number of threads; at the machine's own vector width.
    width = "AVX512" if "avx512f" in Path("/proc/cpuinfo").read_text() else "AVX2"
    os.environ.setdefault("MKL_CBWR", f"{width},STRICT")
    # Threads that wait by spinning take the CPUs from pool workers and from other array tasks.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Arrow's own allocator, mimalloc, reserves 1 GiB for its first byte, of what a pool worker may have as its data, and
    # takes huge pages: 4 MB of each child.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # Its other one, jemalloc, starts a thread, used or not; and Python warns of a fork beside threads.
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
    # torch.cuda.is_available(), which many modules ask when they are imported, would make forked processes unable to use CUDA.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    # GPUs have the numbers that NVML and Slurm give them.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
