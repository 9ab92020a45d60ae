"""Freed memory stays with the process, so that a step of training finds it without page faults."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from fastlt import heap

FAULTS = """
import resource
from fastlt import heap
import torch
if {kept}:
    heap.keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):  # until the holes of the heap fit
    torch.ones(16 << 20)
before = faults()
for _ in range(5):
    torch.ones(16 << 20)
print(faults() - before)
"""


HEAP = """
import ctypes
from fastlt import heap
heap.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes, libc.sbrk.argtypes = [ctypes.c_size_t], [ctypes.c_void_p], [ctypes.c_long]
before = libc.sbrk(0)
libc.free(libc.malloc(3 << 30))  # never touched, so it takes no memory
print((libc.sbrk(0) - before) >> 20)
"""
needs_glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")


@needs_glibc
def test_large_tensors_are_made_of_memory_that_the_process_has():
    kept, usual = (_faults(kept) for kept in (True, False))
    assert kept < 100
    assert usual > 1000  # 64 MiB each time, at 4 KiB or some huge pages


def test_another_c_library_is_left_alone():
    assert _printed("import ctypes, torch; ctypes.CDLL = lambda name: object()" + FAULTS.format(kept=True)) > 1000


@needs_glibc
def test_they_stay_however_much_is_freed_at_once():
    assert _printed(HEAP) == 3 << 10  # MiB


@needs_glibc
def test_what_the_environment_says_stays():
    assert _faults(True, MALLOC_MMAP_THRESHOLD_="131072") > 1000


def _faults(kept: bool, **environment: str) -> int:
    return _printed(FAULTS.format(kept=kept), **environment)


def _printed(program: str, **environment: str) -> int:
    own = {name: value for name, value in os.environ.items() if name not in heap.OF_THE_USER}  # dask sets some
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=own | environment)
    return int(done.stdout)
