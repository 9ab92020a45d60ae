"""How much memory a call takes beyond what is held before it, whoever allocates it."""

from __future__ import annotations

import ctypes
import gc
import statistics
from collections.abc import Callable
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes(call: Callable[[], object], times: int = 3) -> int | None:
    """Growth of the resident set at its highest during a call, after one to warm up; median. None but on Linux."""
    if not STATUS.exists():
        return None
    call()
    return int(statistics.median(_once(call) for _ in range(times)))


def _once(call: Callable[[], object]) -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back, so that using it again is seen
    RESET.write_text("5")  # the high-water mark starts anew
    before = _kilobytes("VmRSS")
    call()
    return (_kilobytes("VmHWM") - before) * 1024


def _kilobytes(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1])
