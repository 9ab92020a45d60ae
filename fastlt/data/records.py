"""Many records at once: by one call of the compiled library each, where a process that has torch anyway loaded it.

Nothing here imports torch, which would take seconds of commands that only look at a data set.
"""

from __future__ import annotations

import os
import sys
import zlib
from itertools import pairwise

import numpy as np

# A sequence of B arrays: a list, or one array [B, ...] where they are of one shape.
RecordBatch = list[np.ndarray] | np.ndarray
WORTH = 8  # records from which on a call is worth while


def split(data: np.ndarray, size: np.ndarray) -> list[np.ndarray]:
    """The records in `data` (uint8 [n]), of `size` (int64 [B]) bytes each, one after the other."""
    return [data[begin:end] for begin, end in pairwise([0, *np.cumsum(size).tolist()])]


def taken(records: RecordBatch, rows: np.ndarray) -> RecordBatch:
    """The records of int64 [m] rows; one array of one array."""
    return records[rows] if isinstance(records, np.ndarray) else [records[row] for row in rows.tolist()]


def read_parts(to: np.ndarray, files: list[int], start: np.ndarray, size: np.ndarray) -> int:
    """Reads `size` bytes from byte `start` (int64 [B]) of each open file, side by side into `to` (uint8 [sum(size)]).

    Returns how many came: fewer where a file is shorter. Raises OSError.
    """
    if library := _library(len(files)):
        return library.read_parts(to, np.array(files, np.int64), start, size)
    room, end = memoryview(to), np.cumsum(size)
    rows = zip(files, start.tolist(), (end - size).tolist(), end.tolist(), strict=True)
    return sum(os.preadv(file, [room[first:last]], at) for file, at, first, last in rows)


def crc32(data: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """int64 [B]: the sums of bytes start to end (int64 [B]) of `data` (uint8 [n])."""
    if library := _library(len(start)):
        return library.crc32_parts(data, start, end)
    return np.array([zlib.crc32(data[a:b]) for a, b in zip(start.tolist(), end.tolist(), strict=True)], np.int64)


def _library(count: int):
    loaded = sys.modules.get("fastlt.ops.records") if count >= WORTH else None
    return loaded if loaded and loaded.available() else None
