"""Files fetched from elsewhere: one copy a host, bounded in size together, the least recently used ones given up first.

Whoever reads a file holds a shared lock on it, and only what nobody holds is given up. A file is made aside, under a
lock of its own, so that of several processes that want it one fetches it; what a killed one began is begun anew. On
a file system without locks all of this holds for each process alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fastlt.errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

FOLDER, SIZE = "FASTLT_CACHE", "FASTLT_CACHE_GB"  # variables of the environment
DEFAULT_GB = 64
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ASIDE = ".partial"
BLOCK = 4096  # bytes in which disks give room
Span = tuple[int, int]  # bytes [start, end) of a file


class NoRoom(Exception):
    """Nothing more can be given up: the size is reached, or (`disk_full`) the disk."""

    def __init__(self, disk_full: bool):
        super().__init__()
        self.disk_full = disk_full


class CacheFault(UserError):
    """The cache is at fault, and not what was to be fetched."""


class Cache:
    """The files below `folder`, at most `limit` bytes of disk together."""

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit

    @classmethod
    def of_this_host(cls) -> Cache:
        """The folder FASTLT_CACHE (~/.cache/fastlt), of FASTLT_CACHE_GB (64) times 10^9 bytes."""
        text = os.environ.get(SIZE, str(DEFAULT_GB))
        try:
            limit = float(text) * 1e9
        except ValueError:
            limit = -1.0
        if not 0 <= limit < float("inf"):
            raise CacheFault(f"{SIZE} is {text!r}; give the size of the cache in GB, such as {DEFAULT_GB}")
        return cls(Path(os.environ.get(FOLDER) or Path.home() / ".cache" / "fastlt").absolute(), int(limit))

    def open(self, name: str) -> int | None:
        """A handle to read the file, which stays as long as it is open; None if it is not there."""
        path = self.folder / name
        try:
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            return None
        _lock(handle, "LOCK_SH")
        if not _is_still(path, handle):  # given up between our two steps
            os.close(handle)
            return None
        touch(handle)
        return handle

    def discard(self, name: str) -> None:
        """Removes the file."""
        (self.folder / name).unlink(missing_ok=True)

    def fill(
        self, name: str, spans: list[Span], write: Callable[[int], None], wait: bool = True, give_up: bool = True
    ) -> bool:
        """Has `write` fill the `spans` of a new file unless it is there; False if another process is about to.

        Then it waits, if told so. Unless `give_up`, other files stay. Raises NoRoom, CacheFault where nothing can be
        written, and what `write` raises; then nothing is left.
        """
        path = self.folder / name
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            with _alone(path, wait) as handle:
                if handle is None:
                    return path.exists()
                os.ftruncate(handle, 0)
                self._reserve(path, handle, spans, give_up)
                write(handle)
                with contextlib.suppress(FileNotFoundError):  # somebody emptied the cache meanwhile
                    os.replace(path.with_name(path.name + ASIDE), path)
                return path.exists()

    def _reserve(self, path: Path, handle: int, spans: list[Span], give_up: bool) -> None:
        """Takes the room of the spans, at the cost of files that nobody uses."""
        wanted = sum(-(-end // BLOCK) * BLOCK - start // BLOCK * BLOCK for start, end in spans)
        if wanted > self.limit:
            raise NoRoom(disk_full=False)
        with self._lock():
            used = self._used()
            while True:
                if used + wanted <= self.limit:
                    try:
                        _allocate(handle, spans)
                        return
                    except OSError as error:
                        if error.errno not in FULL:
                            raise
                        os.ftruncate(handle, 0)
                freed = self._give_up_oldest(path.with_name(path.name + ASIDE)) if give_up else 0
                if not freed:
                    raise NoRoom(disk_full=used + wanted <= self.limit)
                used -= freed

    def _files(self) -> list[tuple[os.stat_result, Path]]:
        found = []
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(OSError):  # another process gave it up
                found.append((path.stat(follow_symlinks=False), path))
        return found

    def _used(self) -> int:
        return sum(512 * found.st_blocks for found, _ in self._files())

    def _give_up_oldest(self, kept: Path) -> int:
        """The bytes that the file took; 0 if all are in use."""
        for found, path in sorted(self._files(), key=lambda file: file[0].st_mtime_ns):
            if found.st_blocks and path != kept and _removed(path):
                return 512 * found.st_blocks
        return 0

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One process at a time gives up files and takes their room."""
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle, "LOCK_EX")
            yield
        finally:
            os.close(handle)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                raise NoRoom(disk_full=True) from error
            raise CacheFault(
                f"the cache {self.folder} cannot be written: {error.strerror or error}; name another folder in {FOLDER}"
            ) from error


def touch(handle: int) -> None:
    """Notes that the file is in use."""
    with contextlib.suppress(OSError):  # it belongs to another user
        os.utime(handle)


@contextmanager
def _alone(path: Path, wait: bool) -> Iterator[int | None]:
    """A handle to write aside what becomes `path`; None if it is there, or another process is at it (not if `wait`)."""
    aside = path.with_name(path.name + ASIDE)
    while True:
        handle = os.open(aside, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            if not _lock(handle, "LOCK_EX", wait):
                yield None
                return
            if not _is_still(aside, handle):  # its maker is done with it
                continue
            try:
                yield None if path.exists() else handle
            finally:
                if _is_still(aside, handle):
                    aside.unlink()
            return
        finally:
            os.close(handle)


def _lock(handle: int, kind: str, wait: bool = True) -> bool:
    """False if others hold it and `wait` is not said."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, getattr(fcntl, kind) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _removed(path: Path) -> bool:
    """Removes a file that nobody uses."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False
    try:
        free = _lock(handle, "LOCK_EX", wait=False)
        if free:
            path.unlink(missing_ok=True)
        return free
    finally:
        os.close(handle)


def _allocate(handle: int, spans: list[Span]) -> None:
    """Takes the room on the disk, where the file system can."""
    for start, end in (span for span in spans if span[0] < span[1]):
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, start, end - start)
        elif end > os.fstat(handle).st_size:
            os.ftruncate(handle, end)


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(handle))
    except FileNotFoundError:
        return False
