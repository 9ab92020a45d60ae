"""One picture on its way into a shard: checked by decoding it, passed through as it is, or transcoded.

A file passes through byte by byte when Pillow and DALI decode it to the same picture: 8-bit grey or RGB as JPEG, PNG
or WebP. Everything else that Pillow reads (CMYK, 16 bits, palettes, alpha, GIF, BMP, TIFF, orientation outside a
JPEG's EXIF ...) becomes a PNG of what Pillow sees, upright. Alpha is dropped as `convert("RGB")` does, not blended.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ORIENTATION = 0x0112  # EXIF tag
SIDEWAYS = (5, 6, 7, 8)  # orientations that swap height and width
JPEG_QUALITY = 90


class BadImage(Exception):
    """A picture that cannot be stored; the message is the reason."""


@dataclass(frozen=True)
class Picture:
    """What a shard stores of a picture: encoded or raw bytes; height and width in pixels when upright."""

    data: bytes
    height: int
    width: int


@dataclass(frozen=True)
class Treatment:
    """raw: store uint8 RGB. max_side: scale longer pictures down. quality: store JPEG of this quality."""

    raw: bool = False
    max_side: int | None = None
    quality: int | None = None


def prepare(image: bytes | Path | np.ndarray, treatment: Treatment) -> Picture:
    """The bytes to store of one image. Raises BadImage with the reason if it cannot be decoded."""
    if isinstance(image, np.ndarray):
        return _store(Image.fromarray(np.ascontiguousarray(image)), "raw", treatment)
    try:
        data = image.read_bytes() if isinstance(image, Path) else image
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as opened:
            warnings.simplefilter("ignore")  # odd metadata and large pictures are no faults
            opened.load()
            orientation = opened.getexif().get(ORIENTATION, 1)
            if passes_through(opened, data, orientation) and not _changes(opened, treatment):
                height, width = opened.size[::-1] if orientation not in SIDEWAYS else opened.size
                return Picture(data, height, width)
            return _store(upright(opened), opened.format or "", treatment)
    except BadImage:
        raise
    except OSError as error:
        raise BadImage(error.strerror or str(error).partition(" <")[0]) from error
    except Exception as error:  # Pillow's plugins raise whatever a damaged file leads them to
        raise BadImage(f"{type(error).__name__}: {error}") from error


def passes_through(image: Image.Image, data: bytes, orientation: int) -> bool:
    """Whether every decoder downstream sees in these bytes what Pillow sees."""
    if image.mode not in ("L", "RGB"):
        return False
    if image.format in ("JPEG", "MPO"):
        plain_colour = image.mode == "L" or image.info.get("adobe_transform") != 0  # not RGB stored as such
        return plain_colour and (orientation == 1 or "exif" in image.info)  # DALI does not look in XMP
    if orientation != 1 or getattr(image, "n_frames", 1) > 1:
        return False
    if image.format == "PNG":
        depth, colour = data[24], data[25]  # of the IHDR chunk, which comes first
        return depth == 8 and colour in (0, 2) and "transparency" not in image.info
    return image.format == "WEBP" and "exif" not in image.info  # DALI refuses lossless WebP with EXIF


def upright(image: Image.Image) -> Image.Image:
    """8-bit L or RGB with the EXIF orientation applied. Raises BadImage for samples without an agreed range."""
    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I;16") or (turned.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(turned).astype(np.uint32) >> 8).astype(np.uint8))
    if turned.mode in ("I", "F"):
        raise BadImage("its samples have 32 bits, which says nothing about black and white; save it with 8 or 16")
    return turned if turned.mode == "L" else turned.convert("RGB")


def _changes(image: Image.Image, treatment: Treatment) -> bool:
    too_long = treatment.max_side is not None and max(image.size) > treatment.max_side
    return treatment.raw or treatment.quality is not None or too_long


def _store(image: Image.Image, origin: str, treatment: Treatment) -> Picture:
    lossy = treatment.quality is not None
    if treatment.max_side is not None and max(image.size) > treatment.max_side:
        scale = treatment.max_side / max(image.size)
        size = [max(1, round(side * scale)) for side in image.size]
        image = image.resize(size, Image.Resampling.LANCZOS)
        lossy = lossy or origin in ("JPEG", "MPO")
    width, height = image.size
    if treatment.raw:
        return Picture(image.convert("RGB").tobytes(), height, width)
    file = io.BytesIO()
    if lossy:
        image.save(file, "JPEG", quality=treatment.quality or JPEG_QUALITY)
    else:
        image.save(file, "PNG")
    return Picture(file.getvalue(), height, width)


def prepare_all(images: list[bytes | Path | np.ndarray], treatment: Treatment) -> list[Picture | str]:
    """`prepare` for many; a bad image leaves its reason in its place."""
    out: list[Picture | str] = []
    for image in images:
        try:
            out.append(prepare(image, treatment))
        except BadImage as error:
            out.append(str(error) or "unreadable")
    return out
