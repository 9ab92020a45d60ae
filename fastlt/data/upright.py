"""Decoded pictures as they are shown: turned as their metadata say, 8-bit L or RGB."""

from __future__ import annotations

import numpy as np
from PIL import Image

from fastlt.data.picture_headers import BadImage, orientation_of
from fastlt.data.plain_headers import PlainHeader

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """8-bit L or RGB, turned as its metadata say, without them.

    Raises BadImage for samples without an agreed range.
    """
    orientation = orientation_of(image)
    turned = image.transpose(TURNS[orientation]) if orientation in TURNS else image.copy()
    if turned.mode.startswith("I;16") or (turned.mode == "I" and image.format in ("PNG", "PPM")):
        turned = Image.fromarray((np.asarray(turned).astype(np.uint32) >> 8).astype(np.uint8))
    if turned.mode in ("I", "F"):
        raise BadImage("its samples have 32 bits, which says nothing about black and white; save it with 8 or 16")
    shown = turned if turned.mode in ("L", "RGB") else turned.convert("RGB")
    shown.info = {}  # a colour profile or a transparent colour is not carried into a PNG of it
    return shown


def upright_jpeg(data: bytes, header: PlainHeader) -> Image.Image | None:
    """What `upright` gives of a plain JPEG, by the same decoder, in three quarters of the time: its header is known.

    None where the decoder stumbles: to open it as any other file tells what is wrong.
    """
    try:
        image = Image.frombytes(header.mode, (header.width, header.height), data, "jpeg", header.mode, "")
    except (ValueError, OSError):
        return None
    return image.transpose(TURNS[header.orientation]) if header.orientation in TURNS else image
