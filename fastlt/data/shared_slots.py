"""Memory that worker processes share with the process that started them: pictures come back without a pipe."""

from __future__ import annotations

import zlib
from multiprocessing.context import BaseContext
from typing import NamedTuple

from fastlt.data.pictures import Picture

SLOT = 4 << 20  # bytes for the pictures of one piece of work; what finds no room goes through the pipe


class Placed(NamedTuple):
    """A picture whose bytes are in shared memory."""

    at: int
    size: int
    height: int
    width: int
    crc32: int

    def picture(self, room: memoryview) -> Picture:
        return Picture(room[self.at : self.at + self.size], self.height, self.width, self.crc32)


class SharedSlots:
    """`count` slots of SLOT bytes; it may be handed to a process while that is started, and to none later."""

    def __init__(self, context: BaseContext, count: int):
        self._shared = context.RawArray("B", count * SLOT)

    def put(self, slot: int, pictures: list[Picture | str]) -> list[Picture | Placed | str]:
        """Puts the bytes of pictures, one after the other, into a slot, as far as it has room."""
        room, at, end = self._view(), slot * SLOT, (slot + 1) * SLOT
        out: list[Picture | Placed | str] = []
        for picture in pictures:
            if isinstance(picture, Picture) and at + len(picture.data) <= end:
                size = len(picture.data)
                room[at : at + size] = picture.data
                picture = Placed(at, size, picture.height, picture.width, zlib.crc32(picture.data))
                at += size
            out.append(picture)
        return out

    def get(self, pictures: list[Picture | Placed | str]) -> list[Picture | str]:
        """What `put` was given; the bytes are those of the slot, which must not be used again as long as they are."""
        room = self._view().toreadonly()
        return [placed.picture(room) if isinstance(placed, Placed) else placed for placed in pictures]

    def _view(self) -> memoryview:
        return memoryview(self._shared).cast("B")
