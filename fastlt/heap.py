"""How the C library keeps memory for a process that trains on a CPU."""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's <malloc.h>
_NEVER = -1
OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """From here on freed tensors stay with the process, for the next ones.

    Else glibc gives large ones back to the system at once, and every step takes them anew, page by page, which is a
    twenty-fifth of a ResNet-50's step. Does nothing with another C library, and where the environment already tells
    glibc what to keep.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not any(name in os.environ for name in OF_THE_USER):
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        mallopt(_M_MMAP_MAX, 0)
