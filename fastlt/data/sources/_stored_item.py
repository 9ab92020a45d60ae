"""Items out of a shard set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastlt.data.item import Item
from fastlt.data.shards import ShardSet


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


def read_record(shards: ShardSet, row: int) -> bytes | np.ndarray:
    """Encoded bytes, or raw uint8 [H, W, 3]. Raises UserError if the record is damaged."""
    (record,) = shards.read(np.array([row]))
    return record if shards.encoding == "raw" else record.tobytes()
