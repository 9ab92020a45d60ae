"""Files as they are after a restart: out of the kernel's page cache."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path


def evict(paths: Iterable[Path]) -> None:
    """Asks the kernel to forget what it holds of these files; a file system in memory cannot."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)  # only what is on disk can be forgotten
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def resident_share(paths: Iterable[Path]) -> float:
    """Share of the files' pages that are in memory: whether cold is cold."""
    found = [_resident(path) for path in paths if path.stat().st_size]
    return sum(held for held, _ in found) / max(sum(pages for _, pages in found), 1)


def _resident(path: Path) -> tuple[int, int]:
    """Pages of a file in memory, and in all."""
    size = path.stat().st_size
    pages = -(-size // mmap.PAGESIZE)
    state = (ctypes.c_ubyte * pages)()
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE) as view:
        place = ctypes.c_ubyte.from_buffer(view)  # MAP_PRIVATE may be written, so that its address may be taken
        try:
            if ctypes.CDLL(None, use_errno=True).mincore(ctypes.c_void_p(ctypes.addressof(place)), size, state):
                raise OSError(ctypes.get_errno(), "mincore", str(path))
        finally:
            del place
    return sum(page & 1 for page in state), pages
