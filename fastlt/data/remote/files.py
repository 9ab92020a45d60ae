"""The shards at an address: whole ones out of the cache, records of the others by requests of their own."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from fastlt.address import Address
from fastlt.data import layout, manifest
from fastlt.data.local_files import most_open_files
from fastlt.data.remote import transport
from fastlt.data.remote.ahead import Ahead
from fastlt.data.remote.cache import FOLDER, SIZE, Cache, CacheFault, NoRoom
from fastlt.data.remote.held import Held
from fastlt.data.remote.transport import Range
from fastlt.errors import UserError

PIECE = 8 << 20  # bytes of one request
GAP = 64 << 10  # bytes between two records that are read along, which is faster than to ask twice
IN_MEMORY = 256 << 20  # bytes of small arrays of one shard that may lie in memory while they are read
AT_ONCE = 16  # shards whose small arrays are fetched side by side
RENEW = "upload it again, or build it again"


class WrongRecord(Exception):
    """Of the records that were asked for, the one at `args[0]` is not what was written."""


class Closed(Exception):
    """Nobody needs what is being fetched any more."""


class RemoteFiles:
    """Read like `LocalFiles`, by any number of threads. Whatever came is checked: a whole shard by its SHA-256, arrays
    and records by their crc32, a record out of the cache too. What differs is fetched anew before anybody sees it.

    Raises UserError where the address cannot be read, something is missing there, or the cache has no room.
    """

    def __init__(self, folder: Address, values: dict):
        self.folder, self._shards = folder, values["shards"]
        self.cache = Cache.of_this_host()
        self._key = hashlib.sha256(manifest.seal(values)["checksum"].encode()).hexdigest()[:32]
        places = [shard["arrays"][layout.BYTES] for shard in self._shards]
        self._records = [(place["at"], place["at"] + place["length"]) for place in places]
        sizes = [shard["bytes"] for shard in self._shards]
        self._ahead = Ahead(sizes, self.fetch_now, self._fetch_ahead, lambda shard: self._held.let_go(shard))
        self._held = Held(self._open_whole, self._ahead.need, most_open_files() // 4)
        self._gives_parts = transport.knows_ranges(folder / manifest.NAME)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._fetch_index_early, range(len(self._shards))))

    def close(self) -> None:
        self._ahead.close()

    def expect(self, shard: np.ndarray, start: np.ndarray, size: np.ndarray, crc32: np.ndarray) -> None:
        """`fetch` will be called with the same arguments."""
        self._ahead.announce(shard.tolist(), start.tolist(), size.tolist(), crc32)

    def forget_expected(self) -> None:
        self._ahead.forget()

    def open_index(self, shard: int) -> int:
        """A handle to read the small arrays of a shard and its ids: a file of its length without the records."""
        for _ in range(transport.WRONG):
            with _room_for(self._address(shard), self.cache):
                handle = self._find_index(shard)
            if handle is None:  # given up between two steps
                continue
            if self._sums_fit(shard, handle):
                return handle
            os.close(handle)
            for name in (self._name(shard), self._index_name(shard)):
                self.cache.discard(name)
        raise UserError(f"{self._address(shard)}: its arrays are not what was written; {RENEW}")

    def fetch(
        self, shard: np.ndarray, start: np.ndarray, size: np.ndarray, crc32: np.ndarray | None = None
    ) -> np.ndarray:
        """uint8 [sum(size)]: what lies there, one after the other.

        Raises WrongRecord for what is not right at the address either.
        """
        asked = shard.tolist(), start.tolist(), size.tolist(), crc32
        found = self._ahead.take(*asked)
        return np.concatenate([np.empty(0, np.uint8), *(self.fetch_now(*asked) if found is None else found)])

    def fetch_now(
        self, shard: list[int], start: list[int], size: list[int], crc32: np.ndarray | None
    ) -> list[np.ndarray]:
        """uint8 [size] each, whatever was announced."""
        found: list[np.ndarray | None] = [None] * len(shard)
        own: dict[int, list[int]] = {}
        for i, s in enumerate(shard):
            own.setdefault(s, []).append(i)
        for s, places in own.items():
            with self._handle(s, start[places[0]]) as handle:
                for i in places if handle is not None else ():
                    data = os.pread(handle, size[i], start[i])
                    if len(data) == size[i] and (crc32 is None or zlib.crc32(data) == crc32[i]):
                        found[i] = np.frombuffer(data, np.uint8)
                    else:
                        self.cache.discard(self._name(s))
        missing = sorted((shard[i], start[i], start[i] + size[i], i) for i, data in enumerate(found) if data is None)
        for i, data in self._ask(missing, crc32):
            found[i] = np.frombuffer(data, np.uint8)
        return found

    @contextmanager
    def _handle(self, shard: int, at: int) -> Iterator[int | None]:
        """Where byte `at` of a shard can be read on this host; None if it is a record that must be asked for."""
        if self._records[shard][0] <= at < self._records[shard][1]:
            if not self._gives_parts:
                with _room_for(self._address(shard), self.cache):
                    self._fetch_whole(shard)
            with self._held.handle(shard) as handle:
                yield handle
            return
        handle = self.open_index(shard)
        try:
            yield handle
        finally:
            os.close(handle)

    def _ask(
        self, missing: list[tuple[int, int, int, int]], crc32: np.ndarray | None
    ) -> Iterator[tuple[int, memoryview]]:
        """The record of each (shard, start, end, i), ascending: i and its bytes. Neighbours come by one request."""
        runs: list[list[tuple[int, int, int, int]]] = []
        for place in missing:
            last = runs[-1] if runs else None
            near = last and last[0][0] == place[0] and place[1] - last[-1][2] <= GAP
            if near and place[2] - last[0][1] <= PIECE:
                last.append(place)
            else:
                runs.append([place])
        wrong: dict[int, int] = {}

        def is_right(number: int, data: bytes) -> bool:
            first = runs[number][0][1]
            for _, start, end, i in runs[number] if crc32 is not None else ():
                if zlib.crc32(memoryview(data)[start - first : end - first]) != crc32[i]:
                    wrong[number] = i
                    return False
            return True

        ranges = [Range(self._address(run[0][0]), run[0][1], max(end for _, _, end, _ in run)) for run in runs]
        try:
            answers = transport.read_all(ranges, is_right) if ranges else []
        except transport.WrongBytes as found:
            raise WrongRecord(wrong[found.args[0]]) from None
        except FileNotFoundError as error:
            raise UserError(f"{error} is missing; {RENEW}") from None
        for run, data in zip(runs, answers, strict=True):
            for _, start, end, i in run:
                yield i, memoryview(data)[start - run[0][1] : end - run[0][1]]

    def _fetch_index_early(self, shard: int) -> None:
        with contextlib.suppress(NoRoom):  # for all at once
            self._fetch_index(shard)

    def _find_index(self, shard: int) -> int | None:
        """In the whole shard, in a file of its own, or in memory where the cache has no room."""
        handle = self._open_whole(shard)
        if handle is not None:
            return handle
        try:
            self._fetch_index(shard)
        except NoRoom:
            first, last = self._records[shard]
            small = self._gives_parts and first + self._shards[shard]["bytes"] - last <= IN_MEMORY
            if not small or not hasattr(os, "memfd_create"):
                raise
            return self._index_in_memory(shard)
        return self.cache.open(self._index_name(shard))

    def _fetch_index(self, shard: int) -> None:
        if not self._gives_parts:
            return self._fetch_whole(shard)
        first, last = self._records[shard]
        spans = [(0, first), (last, self._shards[shard]["bytes"])]
        self.cache.fill(self._index_name(shard), spans, partial(self._write_index, shard))

    def _index_in_memory(self, shard: int) -> int:
        handle = os.memfd_create("fastlt-index")
        try:
            self._write_index(shard, handle)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _write_index(self, shard: int, handle: int) -> None:
        (first, last), size = self._records[shard], self._shards[shard]["bytes"]
        os.ftruncate(handle, size)
        for start, end in ((0, first), (last, size)):
            _copy(self._address(shard), start, end, handle)

    def _fetch_whole(self, shard: int) -> None:
        spans = [(0, self._shards[shard]["bytes"])]
        self.cache.fill(self._name(shard), spans, partial(self._write_whole, shard))

    def _fetch_ahead(self, shard: int, give_up: bool) -> bool:
        """Holds the shard for who will read it; False if another process fetches it."""
        name, size = self._name(shard), self._shards[shard]["bytes"]
        write = partial(self._write_whole, shard, is_over=lambda: self._ahead.closed)
        if not (self.cache.folder / name).exists() and not self.cache.fill(name, [(0, size)], write, False, give_up):
            return False
        with self._held.handle(shard) as handle:
            return handle is not None

    def _write_whole(self, shard: int, handle: int, is_over: Callable[[], bool] = lambda: False) -> None:
        address, size = self._address(shard), self._shards[shard]["bytes"]
        for _ in range(transport.WRONG):
            if self._gives_parts:
                digest = _copy(address, 0, size, handle, is_over)
            else:
                digest = _copy_at_once(address, size, handle)
            if digest == self._shards[shard]["sha256"]:
                return
        raise UserError(f"{address} is not what was written: its SHA-256 differs; {RENEW}")

    def _sums_fit(self, shard: int, handle: int) -> bool:
        """Whether the small arrays and the ids are what was written."""
        for name in (*layout.ARRAYS, layout.IDS):
            place = self._shards[shard]["arrays"][name]
            width = place["width"] if name == layout.IDS else np.dtype(layout.ARRAYS[name]).itemsize
            crc, end = 0, place["at"] + place["length"] * width
            for start in range(place["at"], end, PIECE):
                crc = zlib.crc32(os.pread(handle, min(PIECE, end - start), start), crc)
            if crc != place["crc32"]:
                return False
        return True

    def _open_whole(self, shard: int) -> int | None:
        return self.cache.open(self._name(shard))

    def _address(self, shard: int) -> Address:
        return self.folder / self._shards[shard]["file"]

    def _name(self, shard: int) -> str:
        return f"{self._key}/{self._shards[shard]['file']}"

    def _index_name(self, shard: int) -> str:
        return f"{self._name(shard)}.index" if self._gives_parts else self._name(shard)


@contextmanager
def fetched(folder: Address, shard: dict) -> Iterator[Path]:
    """A folder with a copy of a shard as it lies at its address now, whatever it holds, while the context lasts.

    Raises UserError if it cannot be read or is of another size.
    """
    cache, address, size = Cache.of_this_host(), folder / shard["file"], shard["bytes"]
    name = f"verify-{os.getpid()}-{secrets.token_hex(8)}/{shard['file']}"
    there = transport.size(address)
    if there not in (None, size):
        raise UserError(f"{address} has {there} bytes where {size} were written; {RENEW}")
    copy = (
        partial(_copy, address, 0, size) if transport.knows_ranges(address) else partial(_copy_at_once, address, size)
    )
    handle = None
    try:
        with _room_for(address, cache):
            cache.fill(name, [(0, size)], copy)
        handle = cache.open(name)
        yield (cache.folder / name).parent
    finally:
        cache.discard(name)
        with contextlib.suppress(OSError):
            (cache.folder / name).parent.rmdir()
        if handle is not None:
            os.close(handle)


@contextmanager
def _room_for(address: Address, cache: Cache) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CacheFault(f"{address}: its arrays cannot be held: {error.strerror or error}; free some space") from error
    except NoRoom as full:
        advice = f"free some space or name another folder in {FOLDER}" if full.disk_full else f"raise {SIZE}"
        raise CacheFault(f"the cache {cache.folder} has no room for {address}; {advice}") from None


def _copy(address: Address, start: int, end: int, handle: int, is_over: Callable[[], bool] = lambda: False) -> str:
    """Bytes [start, end) to the same place in a file, piece by piece, so that a cut link costs one; their SHA-256."""
    digest = hashlib.sha256()
    for at in range(start, end, PIECE):
        if is_over():
            raise Closed
        try:
            (data,) = transport.read_all([Range(address, at, min(at + PIECE, end))])
        except FileNotFoundError as error:
            raise UserError(f"{error} is missing; {RENEW}") from None
        os.pwrite(handle, data, at)
        digest.update(data)
    return digest.hexdigest()


def _copy_at_once(address: Address, size: int, handle: int) -> str:
    """A file of `size` bytes from a server that gives no parts; its SHA-256."""
    digest, at = hashlib.sha256(), 0

    def begin() -> Callable[[bytes], None]:
        nonlocal digest, at
        digest, at = hashlib.sha256(), 0
        return take

    def take(data: bytes) -> None:
        nonlocal at
        if at + len(data) > size:
            raise UserError(f"{address} has more than the {size} bytes that were written; {RENEW}")
        os.pwrite(handle, data, at)
        digest.update(data)
        at += len(data)

    try:
        transport.download(address, begin)
    except FileNotFoundError as error:
        raise UserError(f"{error} is missing; {RENEW}") from None
    return digest.hexdigest()
