"""Pictures that stand in different splits of different shard sets: what is trained on must not be measured on."""

from __future__ import annotations

import numpy as np

from fastlt.data.shards import ShardSet
from fastlt.data.sources._repeats import digests

CHUNK = 256  # images whose ids or records are read at a time


def id_digests(shards: ShardSet) -> np.ndarray:
    """uint64 [N]"""
    starts = range(0, len(shards), CHUNK)
    parts = (shards.ids(np.arange(start, min(start + CHUNK, len(shards)))) for start in starts)
    return digests(id for ids in parts for id in ids)


def shared(own: ShardSet, own_ids: np.ndarray, other: ShardSet, other_ids: np.ndarray) -> np.ndarray:
    """int64, ascending: rows of `own` whose id or picture is in `other` too; ids are given by their digests."""
    return np.union1d(np.flatnonzero(np.isin(own_ids, other_ids)), _shared_pictures(own, other))


def _shared_pictures(own: ShardSet, other: ShardSet) -> np.ndarray:
    """int64, ascending: rows of `own` whose bytes and size are those of a record of `other`.

    Sums of the records, which the shards hold, tell which may be equal; those are read and compared.
    """
    if own.encoding != other.encoding:
        return np.empty(0, np.int64)
    mine, theirs = _marks(own), _marks(other)
    suspects = np.flatnonzero(np.isin(mine, theirs))
    if not len(suspects):
        return suspects
    order = np.argsort(theirs, kind="stable")
    first = np.searchsorted(theirs, mine[suspects], sorter=order)
    end = np.searchsorted(theirs, mine[suspects], side="right", sorter=order)
    equal = [_is_among(own, row, other, order[a:b]) for row, a, b in zip(suspects, first, end, strict=True)]
    return suspects[np.array(equal, bool)]


def _marks(shards: ShardSet) -> np.ndarray:
    """uint64 [N]: equal for equal records."""
    crc32, size = shards.sums(np.arange(len(shards)))
    return crc32.astype(np.uint64) << np.uint64(32) | size.astype(np.uint64) & np.uint64(0xFFFFFFFF)


def _is_among(own: ShardSet, row: int, other: ShardSet, candidates: np.ndarray) -> bool:
    (record,) = own.read(np.array([row]))
    return any(np.array_equal(record, found) for c in candidates.tolist() for found in other.read(np.array([c])))
