"""Mean and standard deviation of the pixels of a data set, by which a network's input is normalised."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from fastlt.data.shards import ShardSet
from fastlt.data.stored_picture import stored_picture
from fastlt.errors import UserError

CHUNK = 256  # pictures that are decoded before more are read
LEVELS = np.arange(256) / 255


@dataclass(frozen=True)
class PixelStatistics:
    """Of red, green and blue, in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def as_settings(self) -> str:
        """What a run takes."""
        mean, std = (",".join(f"{value:.4f}" for value in values) for values in (self.mean, self.std))
        return f"--set pipeline.mean=[{mean}] --set pipeline.std=[{std}]"


def pixel_statistics(records: ShardSet, tick: Callable[[int, int], object] | None = None) -> PixelStatistics:
    """Over all pictures, each of which counts the same however large it is, as they do once they are resized.

    `tick` is told how many are done, of how many. Raises UserError for a picture that cannot be decoded.
    """
    sums = np.zeros((2, 3))  # of the pictures' means of values and of squares
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(records), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(records)))
            moments = threads.map(_moments, records.read(rows), (f"{records.folder}: picture {row}" for row in rows))
            sums += np.sum(list(moments), axis=0)
            if tick:
                tick(int(rows[-1]) + 1, len(records))
    mean, square = sums / len(records)
    return PixelStatistics(tuple(mean.tolist()), tuple(np.sqrt(square - mean**2).tolist()))


def _moments(record: np.ndarray, name: str) -> np.ndarray:
    """float64 [2, 3]: means of values and of squares, of a picture's channels."""
    try:
        shares = np.reshape(stored_picture(record).histogram(), (3, 256)).astype(np.float64)
    except Exception as error:  # Pillow's plugins raise whatever a damaged file leads them to
        raise UserError(f"{name} cannot be decoded ({error}); build the data set again") from error
    shares /= shares.sum(axis=1, keepdims=True)
    return np.stack([shares @ LEVELS, shares @ LEVELS**2])
