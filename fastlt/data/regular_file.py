"""Reading a picture's file, and nothing that only looks like one: a pipe would never end, a device might not either."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 2**31
BLOCK = 8 << 20  # bytes read at a time where one read did not give all
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_regular_file(path: Path | str) -> bytes:
    """The content of a file. Raises OSError, with the reason as `strerror`, for anything else and beyond 2 GiB."""
    _require_regular(os.stat(path))  # before opening, which may itself set a device going
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(handle)
        _require_regular(found)  # another may have taken its place
        data = os.read(handle, found.st_size + 1)
        if len(data) != found.st_size:  # it is being written to, or was interrupted
            data = _read_on(handle, data)
    finally:
        os.close(handle)
    if len(data) > MAX_BYTES:
        raise OSError(errno.EFBIG, _too_long())
    return data


def _read_on(handle: int, data: bytes) -> bytes:
    """What was read, and what follows it; at most a byte more than MAX_BYTES."""
    with open(handle, "rb", buffering=0, closefd=False) as file:
        parts, left = [data], MAX_BYTES + 1 - len(data)
        while left > 0 and (part := file.read(min(left, BLOCK))):
            parts.append(part)
            left -= len(part)
    return b"".join(parts)


def _require_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file")
    if found.st_size > MAX_BYTES:
        raise OSError(errno.EFBIG, _too_long())


def _too_long() -> str:
    return f"the file has more than {MAX_BYTES:,} bytes"
