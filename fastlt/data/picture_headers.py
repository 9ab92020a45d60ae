"""What the header and the end of a picture's file say, without decoding it.

`known_to_agree` holds for the plain kinds of JPEG, PNG and WebP: 8-bit grey or RGB without alpha, palette, animation,
or an orientation that only some decoders find. `is_whole` finds a file that was cut off.
"""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image

MAX_PIXELS = 178_956_970  # Pillow's own limit: half a GiB of RGB samples
READ_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
JPEGS = ("JPEG", "MPO")  # MPO: more pictures follow after the one that is shown
ORIENTATION = 0x0112  # EXIF tag
SIDEWAYS = (5, 6, 7, 8)  # orientations that swap height and width
ORIENTATION_ENTRIES = (b"\x01\x12\0\x03\0\0\0\x01", b"\x12\x01\x03\0\x01\0\0\0")  # of one 16-bit integer

PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
PNG_NOT_PLAIN = (b"tRNS", b"eXIf", b"acTL")
PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
PNG_TEXTS_WITH_ORIENTATION = (b"XML:com.adobe.xmp", b"Raw profile type")

JPEG_END = b"\xff\xd9"
JPEG_FRAMES = range(0xC0, 0xD0)  # start-of-frame markers, but for the three that are none
JPEG_NO_FRAMES = (0xC4, 0xC8, 0xCC)
JPEG_USUAL_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: Huffman-coded and lossy
JPEG_SCAN = 0xDA
JPEG_APP1 = 0xE1


class BadImage(Exception):
    """A picture that cannot be stored; the message is the reason."""


def open_header(data: bytes) -> Image.Image:
    """The picture, not decoded yet. Raises BadImage for an empty file and more than MAX_PIXELS, OSError for others."""
    if not data:
        raise BadImage("the file is empty")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        _refuse_bomb(*_webp_size(data))  # Pillow makes room for the picture when it opens a WebP
    try:
        opened = Image.open(io.BytesIO(data), formats=_formats())
    except Image.DecompressionBombError as error:
        raise BadImage(f"its header declares more than {MAX_PIXELS:,} pixels") from error
    _refuse_bomb(*opened.size)
    return opened


def orientation_of(image: Image.Image) -> int:
    """1 to 8 as in EXIF; 1 where nothing, or nothing sensible, is said. A PNG is decoded for it."""
    return _orientation(image) or 1


def known_to_agree(image: Image.Image, data: bytes) -> bool:
    """Whether all decoders are known to see the same in these bytes, as far as the header says."""
    if image.mode not in ("L", "RGB"):
        return False
    if image.format in JPEGS:
        return _plain_jpeg(image, data)
    if image.format == "PNG":
        return plain_png(data)
    plain_webp = image.format == "WEBP" and not getattr(image, "is_animated", False)
    return plain_webp and "exif" not in image.info and "xmp" not in image.info


def is_whole(image: Image.Image, data: bytes) -> bool:
    """Whether a JPEG, PNG or WebP ends where its format says: a file that was cut off does not.

    Bytes after the end are no fault, but only decoding tells them from a file that was cut off: False for these too.
    """
    if image.format == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 == len(data)
    return data.endswith(PNG_END if image.format == "PNG" else JPEG_END)


@lru_cache
def _formats() -> list[str]:
    """Without those that start other programs (EPS) or hold anything but one picture; it needs all plugins loaded."""
    Image.init()
    return [name for name in READ_FORMATS if name in Image.OPEN]


def _refuse_bomb(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadImage(f"its header declares {width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are read")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height in the first chunk: of the canvas, else of the one frame."""
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _orientation(image: Image.Image) -> int | None:
    """None where the metadata are damaged, which is no reason to call the picture unreadable."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises whatever damaged metadata lead it to
        return None
    return value if isinstance(value, int) and 1 <= value <= 8 else None


def _plain_jpeg(image: Image.Image, data: bytes) -> bool:
    if image.mode == "RGB" and image.info.get("adobe_transform") == 0:  # RGB stored as such
        return False
    frame, exif_segments = _jpeg_segments(data)
    return frame in JPEG_USUAL_FRAMES and exif_segments <= 1 and _plain_orientation(image)


def _plain_orientation(image: Image.Image) -> bool:
    """Whether a JPEG says its orientation, if any, as all decoders expect it: once, in EXIF, in two bytes."""
    orientation = _orientation(image)
    if orientation == 1:
        return True
    written = any(entry in image.info.get("exif", b"") for entry in ORIENTATION_ENTRIES)
    return orientation is not None and written and b"Orientation" not in image.info.get("xmp", b"")


def _jpeg_segments(data: bytes) -> tuple[int | None, int]:
    """The start-of-frame marker, if a scan follows it, and how many EXIF segments there are before the scan."""
    place, frame, exif_segments = 2, None, 0
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # filler
            place += 1
            continue
        if marker == JPEG_SCAN:
            return frame, exif_segments
        if marker in JPEG_FRAMES and marker not in JPEG_NO_FRAMES:
            frame = marker
        exif_segments += marker == JPEG_APP1 and data.startswith(b"Exif\0", place + 4)
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None, exif_segments


def plain_png(data: bytes) -> bool:
    """Whether the chunks of a PNG say nothing but 8-bit grey or RGB, and end."""
    depth, colour = data[24], data[25]  # of the IHDR chunk, which comes first
    if depth != 8 or colour not in (0, 2):
        return False
    place, has_pixels = 8, False
    while place + 12 <= len(data):
        kind = data[place + 4 : place + 8]
        if kind in PNG_NOT_PLAIN or kind in PNG_TEXTS and data.startswith(PNG_TEXTS_WITH_ORIENTATION, place + 8):
            return False
        has_pixels = has_pixels or kind == b"IDAT"
        place += 12 + int.from_bytes(data[place : place + 4], "big")
        if kind == b"IEND":
            return has_pixels and place <= len(data)
    return False
