"""Writes the images of a split one after the other, shard by shard, and notes every finished shard in the journal."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from fastlt.data import layout
from fastlt.data.item import Item
from fastlt.data.journal import Journal
from fastlt.data.pictures import Picture
from fastlt.data.shard_writer import ShardWriter
from fastlt.errors import UserError

LARGE = 8 << 20  # bytes of a shard that another thread finishes while the next one is filled


class SplitWriter:
    """Goes on after what the journal holds. Leaving the context removes a shard that was not full."""

    def __init__(self, journal: Journal, encoding: str, classes: int, shard_bytes: int, label_default: int = 0):
        self.journal, self.encoding, self.classes, self.shard_bytes = journal, encoding, classes, shard_bytes
        self.label_default = label_default
        self.done = journal.done  # images stored or known to be bad
        self._number = len(journal.shards)
        self._thread = ThreadPoolExecutor(1)
        self._finishing: tuple[Future, int, list[int], list[list[str]]] | None = None
        self._begin_shard()

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        try:
            self._note_finished()
        except UserError:
            if kind is None:
                raise
        finally:
            self._thread.shutdown()
            self._shard.__exit__()

    def add(self, item: Item, picture: Picture) -> None:
        """Stores an image, in a new shard if this one would grow beyond its limit."""
        if len(self._shard) and self._shard.size + len(picture.data) > self.shard_bytes:
            self._end_shard()
            self._begin_shard()
        if self._finishing and self._finishing[0].done():
            self._note_finished()
        self._shard.append(item.id, picture, _label_pairs(item))
        for c in set(item.labels):
            self._counts[c] += 1
        self.done += 1

    def add_bad(self, item: Item, reason: str) -> None:
        """Notes an image that cannot be read."""
        self._bad.append([item.id, reason])
        self.done += 1

    def finish(self) -> None:
        if self.done > self.journal.done:
            self._end_shard()
        self._note_finished()

    def _begin_shard(self) -> None:
        path = self.journal.folder / layout.shard_name(self._number)
        self._shard = ShardWriter(path, self.encoding, self.label_default)
        self._counts = [0] * self.classes
        self._bad: list[list[str]] = []

    def _end_shard(self) -> None:
        self._note_finished()
        self._number += 1
        self._finishing = self._thread.submit(_finish, self._shard), self.done, self._counts, self._bad
        if self._shard.size < LARGE:
            self._note_finished()

    def _note_finished(self) -> None:
        """Waits for the shard that is being finished, if there is one."""
        if self._finishing is not None:
            (shard, *rest), self._finishing = self._finishing, None
            self.journal.add(shard.result(), *rest)


def _finish(shard: ShardWriter) -> dict | None:
    with shard:
        return shard.finish() if len(shard) else None


def _label_pairs(item: Item) -> list[tuple[int, int]]:
    """(class, value), the classes ascending."""
    if len(item.labels) == 1 and not item.unknown and not item.negative:
        return [(item.labels[0], 1)]
    return sorted([(c, 1) for c in item.labels] + [(c, -1) for c in item.unknown] + [(c, 0) for c in item.negative])
