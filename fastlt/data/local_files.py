"""The shards of a folder, read by plain reads at their places."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from fastlt.data.manifest import MEND
from fastlt.data.plain_file import open_plain
from fastlt.data.records import read_parts
from fastlt.errors import UserError


class LocalFiles:
    """Open for reading by any number of threads; may be forked. `shards` are those of the manifest."""

    def __init__(self, folder: Path, shards: list[dict]):
        self.folder, self._shards = folder, shards
        self._handles: dict[int, int] = {}
        self._handle_limit = most_open_files() // 2

    def close(self) -> None:
        """Reading opens the files again."""
        while self._handles:
            os.close(self._handles.popitem()[1])

    def open_index(self, shard: int) -> int:
        """A handle to read the small arrays of a shard. Raises UserError if its file is not as long as it was."""
        path, wanted = self.folder / self._shards[shard]["file"], self._shards[shard]["bytes"]
        handle = _open_shard(path)
        size = os.fstat(handle).st_size
        if size != wanted:
            os.close(handle)
            raise UserError(f"{path} has {size} bytes where {wanted} were written; {MEND}")
        return handle

    def fetch(self, shard: np.ndarray, start: np.ndarray, size: np.ndarray, crc32: object = None) -> np.ndarray:
        """uint8 [sum(size)]: what lies there, one after the other.

        Nothing is compared with the `crc32`: that is for what comes from elsewhere.
        """
        asked = shard.tolist()
        handles = {s: self._handles.get(s) for s in set(asked)}
        passing = []  # handles beyond the limit of open files, closed at the end
        found = np.empty(int(size.sum()), np.uint8)
        try:
            for s, handle in handles.items():
                handles[s] = self._open(s, passing) if handle is None else handle
            got = read_parts(found, [handles[s] for s in asked], start, size)
        finally:
            for handle in passing:
                os.close(handle)
        if got != len(found):
            raise UserError(f"{self.folder}: a shard became shorter since it was opened; {MEND}")
        return found

    def _open(self, shard: int, passing: list[int]) -> int:
        handle = _open_shard(self.folder / self._shards[shard]["file"])
        if len(self._handles) >= self._handle_limit or self._handles.setdefault(shard, handle) != handle:
            passing.append(handle)  # no room to keep it, or another thread was first
        return handle


def most_open_files() -> int:
    """How many files this process may have open."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 512
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 16 if limit == resource.RLIM_INFINITY else limit


def _open_shard(path: Path) -> int:
    try:
        return open_plain(path)
    except OSError as error:
        raise UserError(f"{path} cannot be opened: {error.strerror}; {MEND}") from error
