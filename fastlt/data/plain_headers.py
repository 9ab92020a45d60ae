"""The headers of plain JPEG and PNG files, read without Pillow, which takes five times as long.

What is answered here is what picture_headers.py finds by Pillow: that a file is whole and all decoders show the same,
and its size. Whatever is unusual, harmless or not, is left to that closer look.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from fastlt.data.picture_headers import (
    JPEG_END,
    JPEG_SCAN,
    JPEG_USUAL_FRAMES,
    MAX_PIXELS,
    ORIENTATION,
    PNG_END,
    SIDEWAYS,
    plain_png,
)  # fmt: skip

JPEG_START = b"\xff\xd8\xff"
JPEG_TABLES = 0xDB  # of quantization
JPEG_SKIPPED = {0xC4, 0xDD, 0xFE, *range(0xE3, 0xED), 0xEF}  # Huffman tables, restarts, comment, application data
JPEG_APP0, JPEG_APP1, JPEG_APP2, JPEG_APP13, JPEG_APP14 = 0xE0, 0xE1, 0xE2, 0xED, 0xEE
EXIF, EXIF_START = b"Exif", b"Exif\0\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
PHOTOSHOP_RESOURCE = b"8BIM"
MODES = {1: "L", 3: "RGB"}  # by components
YCBCR = 1  # what Adobe's segment says of the usual colours
BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
SHORT = 3  # the type of a 16-bit integer in EXIF
EXIF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes of a value by type

PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
PNG_PIXELS = b"IDAT"
PNG_LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"tIME": 7}  # of chunks before the pixels

_segment = struct.Struct(">BBH").unpack_from  # 0xFF, marker, bytes from the third on
_frame = struct.Struct(">BHHB").unpack_from  # bits a sample, height, width, components
_ihdr = struct.Struct(">IIBBBBB").unpack_from  # width, height, bits, colour, compression, filter, interlace
_chunk = struct.Struct(">I4s").unpack_from  # bytes of the content, kind
_uint32 = struct.Struct(">I").unpack_from


class _Unusual(Exception):
    """Something that is left to Pillow."""


class PlainHeader(NamedTuple):
    """Height and width in pixels as they are stored, before the orientation (1 to 8, as in EXIF) is heeded."""

    format: str  # JPEG or PNG
    height: int
    width: int
    mode: str  # L or RGB
    orientation: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width as the picture is shown."""
        return (self.width, self.height) if self.orientation in SIDEWAYS else (self.height, self.width)


def plain_header(data: bytes) -> PlainHeader | None:
    """What a plain JPEG or PNG that ends as it should says of itself; None: take a closer look."""
    try:
        if data.startswith(JPEG_START) and data.endswith(JPEG_END):
            header = _jpeg_header(data)
        elif data.startswith(PNG_START) and data.endswith(PNG_END):
            header = _png_header(data)
        else:
            return None
    except (_Unusual, LookupError, struct.error):
        return None
    return header if 0 < header.height * header.width <= MAX_PIXELS else None


def _jpeg_header(data: bytes) -> PlainHeader:
    place, frame, orientation = 2, None, None
    while True:
        start, marker, length = _segment(data, place)
        body, place = place + 4, place + 2 + length
        if start != 0xFF or length < 2 or place > len(data):
            raise _Unusual
        if marker in JPEG_SKIPPED:
            continue
        if marker == JPEG_TABLES:
            _check_tables(data, body, place)
        elif marker in JPEG_USUAL_FRAMES and frame is None:
            bits, *frame, components = _frame(data, body)
            if bits != 8 or components not in MODES or length != 8 + 3 * components:
                raise _Unusual
        elif marker == JPEG_SCAN and frame is not None:
            return PlainHeader("JPEG", *frame, MODES[components], orientation or 1)
        elif marker == JPEG_APP1 and data.startswith(EXIF, body) and orientation is None:
            orientation = _exif_orientation(data[body:place])
        else:
            _check_application(marker, data[body:place])


def _check_tables(data: bytes, place: int, end: int) -> None:
    while place < end:
        place += 65 if data[place] < 16 else 129  # 64 values of one byte or two
    if place != end:
        raise _Unusual


def _check_application(marker: int, body: bytes) -> None:
    """Of the data that applications add, those pass which no decoder and no part of Pillow stumbles over."""
    if marker == JPEG_APP0:
        usual = len(body) >= 14
    elif marker == JPEG_APP1:
        usual = not body.startswith(EXIF) and b"Orientation" not in body
    elif marker == JPEG_APP2:
        usual = body.startswith(b"ICC_PROFILE\0") and len(body) > 14
    elif marker == JPEG_APP13:
        usual = body[-6:-2] != PHOTOSHOP_RESOURCE  # Pillow reads on after such an end
    else:
        usual = marker == JPEG_APP14 and body.startswith(b"Adobe") and body[11] == YCBCR
    if not usual:
        raise _Unusual


def _exif_orientation(body: bytes) -> int:
    """1 to 8; 1 where none is given."""
    tiff = body[len(EXIF_START) :]
    if not body.startswith(EXIF_START) or tiff[:4] not in BYTE_ORDERS:
        raise _Unusual
    order = BYTE_ORDERS[tiff[:4]]
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, start)
    fields = struct.unpack_from(order + "HHII" * count + "I", tiff, start + 2)
    found = []
    for tag, kind, values, value in zip(*(fields[i:-1:4] for i in range(4)), strict=True):
        size = values * EXIF_SIZES[kind]
        if size > 4 and value + size > len(tiff):  # where Pillow gives up
            raise _Unusual
        if tag == ORIENTATION:
            found.append((kind, values, value & 0xFFFF if order == "<" else value >> 16))
    if not found:
        return 1
    (kind, values, orientation), *more = found
    if more or kind != SHORT or values != 1 or not 1 <= orientation <= 8:
        raise _Unusual
    return orientation


def _png_header(data: bytes) -> PlainHeader:
    """Pillow checks the sums of the chunks before the pixels."""
    width, height, _, colour, compression, filtering, interlace = _ihdr(data, 16)
    if compression or filtering or interlace or not plain_png(data):
        raise _Unusual
    place, length = 8, 13
    while True:
        end = place + 8 + length
        if zlib.crc32(data[place + 4 : end]) != _uint32(data, end)[0]:
            raise _Unusual
        place = end + 4
        length, kind = _chunk(data, place)
        if kind == PNG_PIXELS:
            return PlainHeader("PNG", height, width, "RGB" if colour else "L")
        if PNG_LENGTHS.get(kind) != length:
            raise _Unusual
