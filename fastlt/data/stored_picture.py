"""The picture in a record of a shard set."""

from __future__ import annotations

import warnings

import numpy as np
from PIL import Image

from fastlt.data.picture_headers import open_header
from fastlt.data.upright import upright


def stored_picture(record: bytes | np.ndarray) -> Image.Image:
    """RGB, upright, of encoded bytes or raw uint8 [H, W, 3]. Raises whatever Pillow does for what is no picture."""
    if isinstance(record, np.ndarray) and record.ndim == 3:
        return Image.fromarray(record)
    with warnings.catch_warnings(), open_header(bytes(record)) as opened:
        warnings.simplefilter("ignore")  # odd metadata is no fault
        return upright(opened).convert("RGB")
