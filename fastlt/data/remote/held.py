"""Handles of fetched shards: open, and so kept in the cache, while somebody reads them or will soon."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager

from fastlt.data.remote.cache import touch


class Held:
    """`open_shard` gives a new handle, or None if there is no such shard; those in `soon` stay open, `most` at most."""

    def __init__(self, open_shard: Callable[[int], int | None], soon: Container[int], most: int):
        self._open, self._soon, self._most = open_shard, soon, most
        self._handles: dict[int, int] = {}
        self._users: dict[int, int] = {}
        self._changing = threading.Lock()

    def __contains__(self, shard: int) -> bool:
        return shard in self._handles

    @contextmanager
    def handle(self, shard: int) -> Iterator[int | None]:
        """Open as long as the context lasts."""
        with self._changing:
            if shard not in self._handles and (opened := self._open(shard)) is not None:
                self._handles[shard], self._users[shard] = opened, 0
            found = self._handles.get(shard)
            if found is not None:
                self._users[shard] += 1
        try:
            yield found
        finally:
            if found is not None:
                with self._changing:
                    self._users[shard] -= 1
                    self._let_go(shard)

    def let_go(self, shard: int) -> None:
        """Closes it where nobody reads it and nobody will soon."""
        with self._changing:
            self._let_go(shard)

    def _let_go(self, shard: int) -> None:
        wanted = shard in self._soon and len(self._handles) <= self._most
        if not wanted and self._users.get(shard) == 0:
            handle = self._handles.pop(shard)
            del self._users[shard]
            touch(handle)  # used last
            os.close(handle)
