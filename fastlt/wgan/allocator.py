"""How the memory of tensors on the CPU comes and goes."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's <malloc.h>
LARGEST = 1 << 30  # bytes of a tensor that is still kept


def keep_freed_memory() -> None:
    """Lets the next step have the memory of the last; does nothing where the C library is not glibc.

    By itself glibc gives every tensor above 32 MB back to the system, which clears it page by page when the same tensor
    is made in the next step: a quarter of the time of 64 small networks.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST)
        mallopt(TRIM_THRESHOLD, LARGEST)
