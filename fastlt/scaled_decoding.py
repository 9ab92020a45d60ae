"""Large JPEG pictures decoded at a half, a quarter or an eighth of their sides, in a share of the time; an option.

A JPEG picture is stored by the frequencies of blocks of 8 x 8 pixels; leaving the higher ones out gives a smaller
picture (libjpeg's scaled decoding, by Pillow's `draft`; DALI's decoders do not offer it). What it gives differs from
all pixels resized with antialiasing where there is detail that both must leave out: in photographs by less than a level
of 255 in the mean, and by less than 5 in 99 of 100 values; by more in noise
(tests/pipelines/test_scaled_decoding.py). The edges of a window move by half a pixel of the smaller picture at most.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from fastlt.dali import Source
from fastlt.data.plain_headers import plain_header
from fastlt.data.records import RecordBatch
from fastlt.prefetch import Fed

DIVISORS = (8, 4, 2)  # of the sides
GAP = 2  # times larger than wanted a picture stays at least, as in Pillow's thumbnails (`reducing_gap`)
LEAST_SHARE = 0.4  # of the area: smaller windows are sooner decoded by themselves than the picture scaled
ONE_PIXEL = np.frombuffer(b"P6 1 1 255\n\0\0\0", np.uint8)  # what DALI decodes in place of a picture


class WithoutScaled:
    """A source as DALI is to have it: without the pictures that are decoded here, whose rows `taken` tells."""

    def __init__(self, source: Source, size: int) -> None:
        self._source, self._size = source, size
        self._divisors: dict[int, dict[int, int]] = {}

    def __call__(self, iteration: int) -> Fed:
        """Asked by DALI, some batches ahead."""
        fed = self._source(iteration)
        found = divisors(fed.pictures, fed.drawn["window_shape"], self._size)
        self._divisors[iteration] = found
        return _without(found, fed)

    def taken(self, iteration: int) -> dict[int, int]:
        """Rows of a batch that DALI has asked for, with their divisors; to be called once."""
        return self._divisors.pop(iteration)


def divisors(pictures: RecordBatch, shape: np.ndarray, size: int) -> dict[int, int]:
    """By what to divide the sides of pictures, of those rows that are to be decoded smaller than they are.

    pictures: encoded, uint8 [bytes] each; shape: int32 [B, 2], height and width of their windows. Scaled are plain
    upright JPEGs whose window is much larger than `size` and most of the picture.
    """
    room = shape.min(axis=1) // (GAP * size)
    rows = np.flatnonzero(room >= DIVISORS[-1]).tolist()
    found = {row: next(divisor for divisor in DIVISORS if divisor <= room[row]) for row in rows}
    return {row: found[row] for row in rows if shape[row].prod() >= LEAST_SHARE * _plain_area(pictures[row])}


def decode(picture: np.ndarray, divisor: int) -> np.ndarray | None:
    """uint8 [ceil(h / divisor), ceil(w / divisor), 3] of a file, uint8 [bytes]; None where Pillow refuses it."""
    try:
        with Image.open(io.BytesIO(picture)) as image:
            image.draft(None, (image.width // divisor, image.height // divisor))
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError):
        return None


def window(start: np.ndarray, shape: np.ndarray, divisor: int) -> np.ndarray:
    """int32 [4], top, left, height and width in the smaller picture of a window (int32 [2] each) of the whole one."""
    begin, end = (np.rint(edge / divisor).astype(np.int32) for edge in (start, start + shape))
    return np.concatenate([begin, end - begin])


def shows(picture: np.ndarray, shape: np.ndarray, size: int) -> bool:
    """Whether a picture whose window is `shape`, int32 [2], is decoded smaller than it is, and decodes."""
    found = divisors([picture], shape[None], size)
    return bool(found) and decode(picture, found[0]) is not None


def _without(rows: dict[int, int], fed: Fed) -> Fed:
    """One pixel in place of each of the rows."""
    if not rows:
        return fed
    pictures, at = list(fed.pictures), list(rows)
    for row in at:
        pictures[row] = ONE_PIXEL
    start, shape = fed.drawn["window_start"].copy(), fed.drawn["window_shape"].copy()
    start[at], shape[at] = 0, 1
    return Fed(pictures, fed.drawn | {"window_start": start, "window_shape": shape})


def _plain_area(picture: np.ndarray) -> float:
    """Pixels; without bound of what is no plain upright JPEG."""
    header = plain_header(picture.tobytes())
    plain = header is not None and header.format == "JPEG" and header.orientation == 1
    return header.height * header.width if plain else np.inf
