"""A file in memory of which only the pages that were written exist."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

PAGE = 1 << 16


class SparseFile(io.RawIOBase):
    """A file object for h5py: libhdf5 can crash the process on a full disk, so it writes here first."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._size = self._at = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: bytes | memoryview) -> int:
        data = memoryview(data).cast("B")
        for page, inside, part in self._parts(len(data)):
            stored = self._pages.setdefault(page, bytearray(PAGE))
            stored[inside : inside + part.stop - part.start] = data[part]
        self._at += len(data)
        self._size = max(self._size, self._at)
        return len(data)

    def readinto(self, buffer: memoryview) -> int:
        buffer = memoryview(buffer).cast("B")[: max(0, self._size - self._at)]
        for page, inside, part in self._parts(len(buffer)):
            stored = self._pages.get(page, bytes(PAGE))
            buffer[part] = stored[inside : inside + part.stop - part.start]
        self._at += len(buffer)
        return len(buffer)

    def truncate(self, size: int) -> int:
        self._size = size
        return size

    def copy_to(self, file: BinaryIO, left_out: range = range(0)) -> None:
        """Writes the pages to their places in a real file, but for some bytes of it, and gives it the same size."""
        for page, stored in sorted(self._pages.items()):
            first, end = page * PAGE, min(page * PAGE + PAGE, self._size)
            for start, stop in ((first, min(end, left_out.start)), (max(first, left_out.stop), end)):
                if start < stop:
                    file.seek(start)
                    file.write(stored[start - first : stop - first])
        file.truncate(self._size)

    def _parts(self, length: int) -> list[tuple[int, int, slice]]:
        """(page, place in it, slice of the data) for `length` bytes from here on."""
        parts, done = [], 0
        while done < length:
            page, inside = divmod(self._at + done, PAGE)
            part = slice(done, min(length, done + PAGE - inside))
            parts.append((page, inside, part))
            done = part.stop
        return parts
