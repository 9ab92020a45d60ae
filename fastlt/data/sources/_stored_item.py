"""Items out of a shard set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastlt.data.item import Item
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError

MOST_AHEAD = 64
BYTES_AHEAD = 4 << 20


class StoredItem(Item):
    """An item whose picture is read when somebody asks for it: a plan is made from labels alone.

    `image` may be given as a function that reads it.
    """

    @property
    def image(self) -> bytes | np.ndarray:
        stored = self.__dict__["stored"]
        return stored() if callable(stored) else stored

    @image.setter
    def image(self, stored: bytes | np.ndarray | Callable[[], bytes | np.ndarray]) -> None:
        self.__dict__["stored"] = stored  # called by Item.__init__ alone; an item is frozen


class RecordReader:
    """Records of a shard set; while they are asked for in turn, some are read ahead, at most 64 and 4 MiB."""

    def __init__(self, shards: ShardSet):
        self._shards = shards
        self._first, self._ahead = 0, []  # the rows that are read already begin there
        self._asked, self._next = 1, -1  # how many are read together, and the row that would come in turn

    def __reduce__(self) -> tuple:
        return RecordReader, (self._shards,)

    def __call__(self, row: int) -> bytes | np.ndarray:
        """Encoded bytes, or raw uint8 [H, W, 3]. Raises UserError if the record is damaged."""
        if not self._first <= row < self._first + len(self._ahead):
            self._asked = min(2 * self._asked, MOST_AHEAD) if row == self._next else 1
            self._first, self._ahead = row, self._read(row)
        self._next = row + 1
        record = self._ahead[row - self._first]
        return record if self._shards.encoding == "raw" else record.tobytes()

    def _read(self, row: int) -> list[np.ndarray]:
        rows = np.arange(row, min(row + self._asked, len(self._shards)))
        small = np.count_nonzero(np.cumsum(self._shards.sums(rows)[1]) <= BYTES_AHEAD)
        try:
            return self._shards.read(rows[: max(small, 1)])
        except UserError:  # perhaps it is one that nobody asked for
            return self._shards.read(rows[:1])
