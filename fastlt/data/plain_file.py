"""Opening the files of a folder that a stranger may have made."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def open_plain(path: Path) -> int:
    """A handle to read a regular file. Raises OSError, also for a link, which may lead anywhere, and for a pipe."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link, put the file itself there") from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no regular file")
    return handle
