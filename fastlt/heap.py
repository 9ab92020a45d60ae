"""How the C library keeps memory for a process that trains on a CPU."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's <malloc.h>
_MOST = 2**31 - 1


def keep_freed_memory() -> None:
    """From here on freed tensors stay with the process, for the next ones.

    Else glibc gives large ones back to the system at once, and every step takes them anew, page by page, which is a
    twenty-fifth of a ResNet-50's step. Does nothing with another C library.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _MOST)
        mallopt(_M_MMAP_MAX, 0)
