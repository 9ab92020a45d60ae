"""Large JPEG pictures decoded at a half, a quarter or an eighth of their sides, in a share of the time; an option.

A JPEG picture is stored by the frequencies of blocks of 8 x 8 pixels; leaving the higher ones out gives a smaller
picture (libjpeg's scaled decoding, by Pillow's `draft`; DALI's decoders do not offer it). What it gives differs from
all pixels resized with antialiasing where there is detail that both must leave out: in sharp photographs by less than
a level of 255 in the mean, by 4 in a hundredth of the values (tests/pipelines/test_scaled_decoding.py). The edges of a
window move by half a pixel of the smaller picture at most.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from fastlt.data.plain_headers import plain_header
from fastlt.data.records import RecordBatch
from fastlt.prefetch import Fed

SCALES = (8, 4, 2)
GAP = 2  # times larger than wanted a picture stays at least, as in Pillow's thumbnails (`reducing_gap`)
LEAST_SHARE = 0.4  # of the area: smaller windows are sooner decoded by themselves than the picture scaled
ONE_PIXEL = np.frombuffer(b"P6 1 1 255\n\0\0\0", np.uint8)  # what DALI decodes in place of a picture


def scales(pictures: RecordBatch, shape: np.ndarray, size: int) -> dict[int, int]:
    """Of the rows whose window int32 [B, 2] is most of the picture and much larger than `size` the scales, by which
    their sides are divided.

    Only plain upright JPEG files have one; `pictures` are encoded, uint8 [bytes] each.
    """
    room = shape.min(axis=1) // (GAP * size)
    found = {row: next(scale for scale in SCALES if scale <= room[row]) for row in np.flatnonzero(room >= SCALES[-1])}
    return {row: scale for row, scale in found.items() if shape[row].prod() >= LEAST_SHARE * _plain_area(pictures[row])}


def without(rows: dict[int, int], fed: Fed) -> Fed:
    """What DALI is given to decode where `rows` are decoded here: one pixel in place of each of them."""
    if not rows:
        return fed
    pictures, at = list(fed.pictures), list(rows)
    for row in at:
        pictures[row] = ONE_PIXEL
    start, shape = fed.drawn["window_start"].copy(), fed.drawn["window_shape"].copy()
    start[at], shape[at] = 0, 1
    return Fed(pictures, fed.drawn | {"window_start": start, "window_shape": shape})


def decode(picture: np.ndarray, scale: int) -> np.ndarray:
    """uint8 [ceil(h / scale), ceil(w / scale), 3]. Raises RuntimeError for one that does not decode."""
    try:
        with Image.open(io.BytesIO(picture)) as image:
            image.draft(None, (image.width // scale, image.height // scale))
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise RuntimeError(f"{error}; pipeline.scaled_decoding: false decodes it otherwise") from error


def window(start: np.ndarray, shape: np.ndarray, scale: int) -> np.ndarray:
    """int32 [4], top, left, height and width in the scaled picture: the window with its edges moved to whole pixels."""
    begin, end = (np.rint(edge / scale).astype(np.int32) for edge in (start, start + shape))
    return np.concatenate([begin, end - begin])


def _plain_area(picture: np.ndarray) -> float:
    """Pixels; without bound of what is no plain upright JPEG."""
    header = plain_header(picture.tobytes())
    plain = header is not None and header.format == "JPEG" and header.orientation == 1
    return header.height * header.width if plain else np.inf
