"""Fetches what will be read: the next records into memory, and whole shards into the cache in the order of their need.

What is announced is a window over the future. Its first records are fetched by themselves, so that nobody waits for a
whole shard because of one picture. Of its shards those that are not on this host are fetched whole: wherever there is
room, and at the cost of shards that the window does not need where it needs a good part of them. So a set that fits
into the cache comes to lie there while it is read; one that is read in order passes through; and of a larger one that
is read at random a part stays, and the rest comes record by record.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fastlt.data.remote.cache import NoRoom
from fastlt.errors import UserError, UserNotice

READERS, FETCHERS = 4, 2  # threads for records and for shards
MOST_BYTES = 128 << 20  # of records that wait to be read
WORTH = 8  # room is made for a shard if the window needs this part of it, one in ...
BUSY, FULL, FAILED = 1.0, 5.0, 60.0  # seconds until a shard is thought of again

Asked = tuple[list[int], list[int], list[int], "np.ndarray | None"]  # shard, start, size, crc32 of each record


@dataclass
class Announced:
    """A batch that will be read."""

    asked: Asked
    bytes: int
    begun: bool = False
    gone: bool = False  # taken, or forgotten
    done: threading.Event = field(default_factory=threading.Event)
    records: list[np.ndarray] | None = None
    error: BaseException | None = None


class Ahead:
    """`read` reads records at once; `fetch_shard` (shard, give up others) brings one into the cache, or says that
    another process does; `let_go` is told of shards that nothing announced needs."""

    def __init__(
        self,
        sizes: list[int],
        read: Callable[..., list[np.ndarray]],
        fetch_shard: Callable[[int, bool], bool],
        let_go: Callable[[int], None],
    ):
        self.need: dict[int, int] = {}  # shard -> bytes of the announced records; the first needed first
        self._sizes, self._read, self._fetch_shard, self._let_go = sizes, read, fetch_shard, let_go
        self._announced: dict[tuple, Announced] = {}
        self._queue: deque[Announced] = deque()  # not begun, but for those that are gone
        self._waiting = 0  # bytes of records begun and not taken
        self._parked: dict[int, float] = {}  # shard -> when to think of it again
        self._here: set[int] = set()
        self._said: set[str] = set()
        self._open = False
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []

    def announce(self, *asked) -> None:
        """`take` will be called with the same."""
        key, announced = _key(asked), Announced(asked, sum(asked[2]))
        with self._changed:
            if key in self._announced:  # the same batch again will find its shards
                return
            self._announced[key] = announced
            self._queue.append(announced)
            for shard, size in zip(asked[0], asked[2], strict=True):
                self.need[shard] = self.need.get(shard, 0) + size
            self._start()
            self._changed.notify_all()

    def take(self, *asked) -> list[np.ndarray] | None:
        """The records of an announced batch; None where it was not announced, or nobody began with it."""
        with self._changed:
            announced = self._announced.get(_key(asked))
            if announced is None:
                return None
            begun = announced.begun
        if begun:
            announced.done.wait()
        self._forget(announced)
        if announced.error is not None:
            raise announced.error
        return announced.records

    def forget(self) -> None:
        """Nothing of what was announced will be read."""
        with self._changed:
            announced = list(self._announced.values())
        for one in announced:
            self._forget(one)

    def close(self) -> None:
        self.forget()
        with self._changed:
            self._open = False
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=5)  # one that waits for a dead server is left to end by itself
        self._threads = []

    @property
    def closed(self) -> bool:
        return not self._open

    def _forget(self, announced: Announced) -> None:
        unneeded = []
        with self._changed:
            if announced.gone:
                return
            announced.gone = True
            del self._announced[_key(announced.asked)]
            self._waiting -= announced.bytes if announced.begun else 0
            for shard, size in zip(announced.asked[0], announced.asked[2], strict=True):
                self.need[shard] -= size
                if not self.need[shard]:
                    del self.need[shard]
                    self._here.discard(shard)
                    unneeded.append(shard)
            self._changed.notify_all()
        for shard in unneeded:
            self._let_go(shard)

    def _start(self) -> None:
        if not self._open:
            self._open = True
            kinds = [self._read_records] * READERS + [self._fetch_shards] * FETCHERS
            self._threads = [threading.Thread(target=kind, name="fastlt-fetch", daemon=True) for kind in kinds]
            for thread in self._threads:
                thread.start()

    def _read_records(self) -> None:
        while (announced := self._next_records()) is not None:
            try:
                announced.records = self._read(*announced.asked)
            except BaseException as error:  # handed to whoever takes them
                announced.error = error
            announced.done.set()

    def _next_records(self) -> Announced | None:
        with self._changed:
            while self._open:
                while self._queue and self._queue[0].gone:
                    self._queue.popleft()
                if self._queue and (not self._waiting or self._waiting + self._queue[0].bytes <= MOST_BYTES):
                    found = self._queue.popleft()
                    found.begun = True
                    self._waiting += found.bytes
                    return found
                self._changed.wait()
        return None

    def _fetch_shards(self) -> None:
        while (shard := self._next_shard()) is not None:
            pause = BUSY
            try:
                if self._fetch_shard(shard, self.need.get(shard, 0) * WORTH >= self._sizes[shard]):
                    pause = 0.0
            except NoRoom as full:
                pause = FULL
                if full.disk_full:
                    self._say("the disk of the cache is full; what finds no room is read anew every time")
            except UserError as error:
                pause = FAILED
                self._say(f"{error}; its records are read one by one")
            except BaseException:
                if self._open:
                    raise
            with self._changed:
                self._parked[shard] = time.monotonic() + pause
                if not pause and shard in self.need:
                    self._here.add(shard)

    def _next_shard(self) -> int | None:
        with self._changed:
            while self._open:
                now = time.monotonic()
                for shard in self.need:
                    if shard not in self._here and self._parked.get(shard, 0.0) <= now:
                        self._parked[shard] = float("inf")  # no other thread takes it meanwhile
                        return shard
                self._changed.wait(timeout=BUSY)
        return None

    def _say(self, line: str) -> None:
        if self._open and line not in self._said:
            self._said.add(line)
            warnings.warn(line, UserNotice, stacklevel=2)


def _key(asked: Asked) -> tuple:
    return tuple(asked[0]), tuple(asked[1])
