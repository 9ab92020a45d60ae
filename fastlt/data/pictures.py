"""Pictures on their way into a shard: checked, then passed through byte by byte, or transcoded.

A file passes through when DALI's CPU decoder shows the picture that Pillow shows, upright. That is known of the plain
kinds of JPEG, PNG and WebP (picture_headers.py): they are decoded by Pillow alone, or, with header checks, not at all
where they end as they should. Of all others it is found by trying DALI (decoders_agree.py). What Pillow reads and DALI
refuses or shows otherwise becomes a PNG of what Pillow sees, upright, unless `Checks` says that it is to be left out.
Alpha is dropped as `convert("RGB")` does, not blended.

Where DALI is not installed, rules take the place of trying: only the plain kinds pass through.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fastlt.data import decoders_agree
from fastlt.data.picture_headers import JPEGS, BadImage, is_whole, known_to_agree, open_header
from fastlt.data.plain_headers import plain_header
from fastlt.data.quiet_stderr import quiet_stderr
from fastlt.data.regular_file import read_regular_file
from fastlt.data.upright import upright, upright_jpeg
from fastlt.data.varied_copies import VariedCopy, vary

JPEG_QUALITY = 90
TRIED_PIXELS = 8_000_000  # decoded pictures that wait for DALI hold at most these many pixels, or are a single one


class Picture(NamedTuple):
    """What a shard stores of a picture: encoded or raw bytes; height and width in pixels when upright."""

    data: bytes | memoryview
    height: int
    width: int
    crc32: int | None = None  # of `data`, where it is known already


@dataclass(frozen=True)
class Treatment:
    """raw: store uint8 RGB. max_side: scale longer pictures down. quality: store JPEG of this quality."""

    raw: bool = False
    max_side: int | None = None
    quality: int | None = None


@dataclass(frozen=True)
class Checks:
    """How files that might pass through are looked at.

    decode: decode each of them; else only those whose header and end leave a doubt. transcode: what decoders disagree
    on becomes a PNG; else it counts as bad. dali: try DALI on what leaves a doubt; else go by the rules.
    """

    decode: bool = True
    transcode: bool = True
    dali: bool = field(default_factory=decoders_agree.available)


@dataclass(frozen=True)
class Candidate:
    """A file that passes through if DALI shows the same, which is found out for several at a time."""

    data: bytes
    shown: Image.Image  # L or RGB, upright


ImageInput = bytes | Path | str | np.ndarray | VariedCopy


def prepare(image: ImageInput, treatment: Treatment, checks: Checks | None = None) -> Picture:
    """The bytes to store of one image. Raises BadImage with the reason if it cannot be stored."""
    (prepared,) = prepare_all([image], treatment, checks)
    if isinstance(prepared, str):
        raise BadImage(prepared)
    return prepared


def prepare_all(images: list[ImageInput], treatment: Treatment, checks: Checks | None = None) -> list[Picture | str]:
    """What to store of each image; a bad one leaves its reason in its place.

    What becomes of an image does not depend on the others. Files beyond 2 GiB and pictures that declare more than
    178,956,970 pixels are bad, and no memory is taken for their pixels.
    """
    checks = checks or Checks()
    out: list[Picture | str | Candidate] = []
    waiting: list[int] = []  # places of candidates in `out`
    pixels = 0
    for image in images:
        prepared = _look(image, treatment, checks)
        size = prepared.shown.width * prepared.shown.height if isinstance(prepared, Candidate) else 0
        if len(waiting) == decoders_agree.BATCH or (waiting and pixels + size > TRIED_PIXELS):
            _settle(out, waiting, checks)
            waiting, pixels = [], 0
        if size:
            waiting.append(len(out))
            pixels += size
        out.append(prepared)
    _settle(out, waiting, checks)
    return out


def _look(image: ImageInput, treatment: Treatment, checks: Checks) -> Picture | str | Candidate:
    """What is known of an image before DALI has tried it."""
    try:
        if isinstance(image, VariedCopy):
            return _vary(image, treatment)
        if isinstance(image, np.ndarray):
            return _store(Image.fromarray(np.ascontiguousarray(image)), "raw", treatment)
        data = image if isinstance(image, bytes) else read_regular_file(image)
        if known := _look_at_plain(data, treatment, checks):
            return known
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata and large pictures are no faults
            with open_header(data) as opened:
                return _look_inside(opened, data, treatment, checks)
    except Exception as error:  # Pillow's plugins raise whatever a damaged file leads them to
        return _reason(error)


def _look_at_plain(data: bytes, treatment: Treatment, checks: Checks) -> Picture | None:
    """What is stored of a plain file, found without opening it by Pillow; None if that takes a closer look."""
    header = plain_header(data)
    if header is None:
        return None
    as_it_is = not _changes(header.upright_size, treatment)
    if as_it_is and not checks.decode:
        return Picture(data, *header.upright_size)
    shown = upright_jpeg(data, header) if header.format == "JPEG" else None
    if shown is None:
        return None
    return Picture(data, *header.upright_size) if as_it_is else _store(shown, header.format, treatment)


def _vary(copy: VariedCopy, treatment: Treatment) -> Picture | str:
    """What is stored of the original, changed; a JPEG stays one."""
    original = _look(copy.image, replace(treatment, raw=True, quality=None), Checks(dali=False))
    if isinstance(original, str):
        return original
    pixels = np.frombuffer(original.data, np.uint8).reshape(original.height, original.width, 3)
    lossy = not treatment.raw and isinstance(copy.image, bytes | Path) and _format(copy.image) in JPEGS
    quality = treatment.quality or (JPEG_QUALITY if lossy else None)
    return _store(
        Image.fromarray(np.ascontiguousarray(vary(pixels, copy.key))), "", replace(treatment, quality=quality)
    )


def _format(image: bytes | Path) -> str:
    with open_header(read_regular_file(image) if isinstance(image, Path) else image) as opened:
        return opened.format or ""


def _reason(error: Exception) -> str:
    """One line."""
    if isinstance(error, BadImage):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or " ".join(str(error).partition(" <")[0].split()) or "unreadable"
    return " ".join(f"{type(error).__name__}: {error}".split())


def _look_inside(opened: Image.Image, data: bytes, treatment: Treatment, checks: Checks) -> Picture | str | Candidate:
    as_it_is = not _changes(opened.size, treatment)
    plain = as_it_is and known_to_agree(opened, data)
    certain = plain and opened.format not in JPEGS and is_whole(opened, data)  # no two read a JPEG's odd header alike
    if certain and not checks.decode:
        return Picture(data, *opened.size[::-1])
    _load(opened)
    origin, mode = opened.format or "", opened.mode
    shown = upright(opened)
    if not as_it_is:
        return _store(shown, origin, treatment)
    if certain or (plain and not checks.dali):
        return Picture(data, shown.height, shown.width)
    if checks.dali:
        return Candidate(data, shown)
    untried = f"not every decoder reads this kind of {origin} alike (mode {mode}), and DALI is not installed to try it"
    return _as_png(shown) if checks.transcode else untried


def _settle(out: list[Picture | str | Candidate], waiting: list[int], checks: Checks) -> None:
    """Puts what is stored, or the reason why not, in the place of every candidate."""
    candidates = [out[place] for place in waiting]
    if not candidates:
        return
    shown = [np.asarray(candidate.shown.convert("RGB")) for candidate in candidates]
    found = decoders_agree.disagreements([candidate.data for candidate in candidates], shown)
    for place, candidate, disagreement in zip(waiting, candidates, found, strict=True):
        if disagreement is None:
            out[place] = Picture(candidate.data, candidate.shown.height, candidate.shown.width)
        else:
            out[place] = _as_png(candidate.shown) if checks.transcode else disagreement


def _load(opened: Image.Image) -> None:
    if opened.format == "TIFF":
        with quiet_stderr():  # libtiff prints what Pillow then raises
            opened.load()
    else:
        opened.load()


def _changes(size: tuple[int, int], treatment: Treatment) -> bool:
    too_long = treatment.max_side is not None and max(size) > treatment.max_side
    return treatment.raw or treatment.quality is not None or too_long


def _as_png(image: Image.Image) -> Picture:
    return _store(image, "PNG", Treatment())


def _store(image: Image.Image, origin: str, treatment: Treatment) -> Picture:
    lossy = treatment.quality is not None
    if treatment.max_side is not None and max(image.size) > treatment.max_side:
        scale = treatment.max_side / max(image.size)
        size = [max(1, round(side * scale)) for side in image.size]
        image = image.resize(size, Image.Resampling.LANCZOS)
        lossy = lossy or origin in JPEGS
    width, height = image.size
    if treatment.raw:
        return Picture(image.convert("RGB").tobytes(), height, width)
    file = io.BytesIO()
    if lossy:
        image.save(file, "JPEG", quality=treatment.quality or JPEG_QUALITY)
    else:
        image.save(file, "PNG")
    return Picture(file.getvalue(), height, width)
