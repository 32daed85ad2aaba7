"""Heap: what a child frees stays with it, so that its batches do not touch fresh pages again and again."""

import os
import subprocess
import sys

import pytest

# Blocks of 20 MB, freed while smaller ones are at the end of the heap or not: glibc alone gives them back each time.
_PROGRAM = """
import resource, sys
from jobs.machine import heap

def batch():
    blocks = [bytearray(20 << 20), bytearray(3 << 20), bytearray(9 << 20)]
    return len(blocks)

if sys.argv[1] == "keep":
    heap.keep_freed()
for _ in range(3):
    batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
_PAGES = (32 << 20) // os.sysconf("SC_PAGE_SIZE")


def faults(mode: str, **environment: str) -> int:
    tuned = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", _PROGRAM, mode]
    return int(subprocess.run(command, env={**tuned, **environment}, capture_output=True, check=True).stdout)


def test_pages_of_freed_blocks_are_not_touched_anew() -> None:
    assert faults("keep") < _PAGES


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_what_the_user_has_tuned_stays(name: str) -> None:
    assert faults("keep", **{name: "131072"}) > 10 * _PAGES
