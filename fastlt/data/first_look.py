"""A first look at a stored picture, before DALI gets it among others: is it a picture, of the size that is stated?

From 32 pictures on DALI 2.4 reads the headers of a batch in several threads. When it refuses one of them, or the window
to decode lies outside of the picture, it does not wait for the other threads: these use memory that was given back, and
the process dies. What it refuses only while decoding costs the batch, and nothing more. So what it reads in a header is
found out beforehand:

* a plain JPEG or PNG is known by its header and its end, in some 10 us;
* another JPEG, PNG or WebP of 8 bits by the very parser that DALI uses, in about as much;
* all else (TIFF, JPEG 2000 ..., 16 bits, an orientation that is not plainly said) by decoding it in another process,
  since damaged files of these kinds make DALI crash in many ways.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fastlt.data import decoders_agree
from fastlt.data.picture_headers import MAX_PIXELS
from fastlt.data.plain_headers import plain_header

PARSED = ("jpeg", "png", "webp")  # what DALI survives when only their content is damaged
PLAIN_WEBP = (b"VP8 ", b"VP8L")  # the first chunk where there are no metadata
EXIF = (b"Exif", b"eXIf", b"EXIF", b"Raw profile type", b"XML:com.adobe.xmp")  # where an orientation may hide


def fault(record: np.ndarray, height: int, width: int) -> str | None:
    """What keeps the encoded picture (uint8 [bytes]) from being shown as height x width pixels; None: nothing known.

    It is a function of its arguments. Raises UserError if DALI cannot be loaded where it is needed.
    """
    if height * width > MAX_PIXELS:
        return f"the shard declares {width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are read"
    data = record.tobytes()
    if header := plain_header(data):
        return _other_size(*header.upright_size, height, width)
    if not data:
        return "it has no bytes"
    if parser := _parser():
        try:
            stream = parser(record)
            kind, sides, sample = stream.codec_name, (stream.height, stream.width), stream.dtype  # now it parses
        except (RuntimeError, TypeError):  # TypeError: samples of so many bits that there is no type for them
            return "DALI finds no picture in it"
        if kind in PARSED and sample == np.uint8 and not _may_be_turned(data):
            return _other_size(*sides, height, width)
    return decoders_agree.undecoded(data, height, width)


def _may_be_turned(data: bytes) -> bool:
    return data[12:16] not in PLAIN_WEBP and any(word in data for word in EXIF)


def _other_size(height: int, width: int, stated_height: int, stated_width: int) -> str | None:
    if (height, width) == (stated_height, stated_width):
        return None
    return f"it has {width} x {height} pixels, the shard says {stated_width} x {stated_height}"


@lru_cache
def _parser():
    """DALI's parser: of bytes, an object with `codec_name`, `height`, `width`; None where it is not at hand."""
    try:
        from nvidia.nvimgcodec import CodeStream
    except ImportError:
        return None
    return CodeStream
