"""Writes the images of a split one after the other, shard by shard, and notes every finished shard in the journal."""

from __future__ import annotations

import numpy as np

from fastlt.data import layout
from fastlt.data.item import Item
from fastlt.data.journal import Journal
from fastlt.data.pictures import Picture
from fastlt.data.shard_writer import ShardWriter


class SplitWriter:
    """Goes on after what the journal holds. Leaving the context removes a shard that was not finished."""

    def __init__(self, journal: Journal, encoding: str, classes: int, shard_bytes: int, label_default: int = 0):
        self.journal, self.encoding, self.classes, self.shard_bytes = journal, encoding, classes, shard_bytes
        self.label_default = label_default
        self.done = journal.done  # images stored or known to be bad
        self._begin_shard()

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(self, *_) -> None:
        self._shard.__exit__()

    def add(self, item: Item, picture: Picture) -> None:
        """Stores an image, in a new shard if this one would grow beyond its limit."""
        if len(self._shard) and self._shard.size + len(picture.data) > self.shard_bytes:
            self._end_shard()
            self._begin_shard()
        listed = [(c, 1) for c in item.labels] + [(c, -1) for c in item.unknown] + [(c, 0) for c in item.negative]
        labels = sorted(listed)
        self._shard.append(item.id, picture, labels)
        self._counts[list(item.labels)] += 1
        self.done += 1

    def add_bad(self, item: Item, reason: str) -> None:
        """Notes an image that cannot be read."""
        self._bad.append([item.id, reason])
        self.done += 1

    def finish(self) -> None:
        if self.done > self.journal.done:
            self._end_shard()

    def _begin_shard(self) -> None:
        path = self.journal.folder / layout.shard_name(len(self.journal.shards))
        self._shard = ShardWriter(path, self.encoding, self.label_default)
        self._counts = np.zeros(self.classes, np.int64)
        self._bad: list[list[str]] = []

    def _end_shard(self) -> None:
        with self._shard:
            entry = self._shard.finish() if len(self._shard) else None
        self.journal.add(entry, self.done, self._counts.tolist(), self._bad)
