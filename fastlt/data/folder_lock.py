"""One builder a folder at a time."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from fastlt.errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

NAME = "build.lock"  # gone when the build ends; a killed build leaves it behind, empty and free


class FolderLock:
    """Holds a folder until `release`, or until this process ends in whatever way.

    Raises UserError if another build holds it. Where no file can be made or locked, nothing is held.
    """

    def __init__(self, folder: Path):
        path = folder / NAME
        handle = _locked(path)
        self.release = weakref.finalize(self, _release, handle, path, os.getpid())


def _locked(path: Path) -> int | None:
    while fcntl is not None:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, handle):
                return handle
            os.close(handle)  # its holder removed it between our two steps
        except BlockingIOError:
            os.close(handle)
            raise UserError(f"another build writes to {path.parent}; wait until it ends or choose another") from None
        except OSError:  # a file system without locks
            os.close(handle)
            return None
    return None


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(handle))
    except FileNotFoundError:
        return False


def _release(handle: int | None, path: Path, process: int) -> None:
    if handle is None:
        return
    if os.getpid() == process:  # and not a fork of it
        path.unlink(missing_ok=True)  # before another can take it
        fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)
