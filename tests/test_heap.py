"""Freed memory stays with the process, so that a step of training finds it without page faults."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

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


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_large_tensors_are_made_of_memory_that_the_process_has():
    kept, usual = (_faults(kept) for kept in (True, False))
    assert kept < 100
    assert usual > 1000  # 64 MiB each time, at 4 KiB or some huge pages


def test_another_c_library_is_left_alone(monkeypatch):
    from fastlt import heap

    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    heap.keep_freed_memory()


def _faults(kept: bool) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS.format(kept=kept)], capture_output=True, text=True, check=True)
    return int(done.stdout)
