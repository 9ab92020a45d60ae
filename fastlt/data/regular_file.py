"""Reading a picture's file, and nothing that only looks like one: a pipe would never end, a device might not either."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 2**31
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_regular_file(path: Path) -> bytes:
    """The content of a file. Raises OSError, with the reason as `strerror`, for anything else and beyond 2 GiB."""
    _require_regular(os.stat(path))  # before opening, which may itself set a device going
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        _require_regular(os.fstat(file.fileno()))  # another may have taken its place
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(errno.EFBIG, _too_long())
    return data


def _require_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file")
    if found.st_size > MAX_BYTES:
        raise OSError(errno.EFBIG, _too_long())


def _too_long() -> str:
    return f"the file has more than {MAX_BYTES:,} bytes"
