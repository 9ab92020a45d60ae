"""Whether DALI's CPU decoder shows what Pillow shows, found by trying it.

DALI decodes in a process of its own (decoding_process.py), one for each thread that asks, started at the first
question. A batch that DALI refuses, or dies over, is tried again picture by picture, so that what is found of a picture
does not depend on the others.
"""

from __future__ import annotations

import os
import threading
from importlib.util import find_spec

import numpy as np

from fastlt.data.decoding_child import BATCH as BATCH
from fastlt.data.decoding_child import OTHER_SHAPE
from fastlt.data.decoding_process import DecodingProcess, Seen

LARGEST_DIFFERENCE = 2  # of 255 levels; see `disagreements`
NOT_DECODED = "DALI does not decode it"

_of_thread = threading.local()


def available() -> bool:
    """Whether pictures are tried: DALI is installed. It is not imported for that."""
    try:
        return find_spec("nvidia.dali") is not None
    except ImportError:  # no package `nvidia`
        return False


def disagreements(files: list[bytes], shown: list[np.ndarray]) -> list[str | None]:
    """For each of at most BATCH files, None, or in words how DALI differs from `shown`, uint8 [H, W, 3] by Pillow.

    They agree when the shapes are equal and no sample differs by more than LARGEST_DIFFERENCE levels. Of 8-bit
    pictures DALI gives exactly Pillow's samples; of 16-bit ones it rounds where Pillow cuts off, one level apart;
    the second leaves room for how other builds of the JPEG decoders round. Another orientation, colour space or
    treatment of alpha is far beyond. A file over which DALI crashes or hangs counts as one that it does not decode.
    Raises UserError if DALI cannot be imported.
    """
    seen = _try(files, shown)
    if seen is not None:
        return [_difference(found, image) for found, image in zip(seen, shown, strict=True)]
    if len(files) == 1:
        return [NOT_DECODED]
    return [disagreements([file], [image])[0] for file, image in zip(files, shown, strict=True)]


def undecoded(file: bytes, height: int, width: int) -> str | None:
    """None if DALI decodes the file to these sides, in pixels; else, in words, what it does. Raises like the other."""
    blank = np.zeros((height, width, 3), np.uint8)
    seen = _try([file], [blank])
    return NOT_DECODED if seen is None else _other_shape(seen[0], blank, "the shard says")


def _try(files: list[bytes], shown: list[np.ndarray]) -> list[Seen] | None:
    """None if DALI refuses one of them, or does not come back."""
    for _ in range(2 if len(files) == 1 else 1):  # something else may have ended the process: a second chance
        try:
            return _process().compare(files, shown)
        except ConnectionError:
            continue
        except TimeoutError:
            break
    return None


def _process() -> DecodingProcess:
    process = _of_thread.__dict__.get("process")
    if process is None or not process.end.alive or process.owner != os.getpid():  # a fork has its parent's
        process = _of_thread.process = DecodingProcess()
    return process


def _difference(seen: Seen, shown: np.ndarray) -> str | None:
    if seen.difference <= LARGEST_DIFFERENCE:
        return _other_shape(seen, shown, "Pillow to")
    return f"DALI decodes it otherwise than Pillow, by up to {seen.difference} of 255 levels"


def _other_shape(seen: Seen, shown: np.ndarray, by: str) -> str | None:
    height, width = shown.shape[:2]
    if seen.difference != OTHER_SHAPE:
        return None
    return f"DALI decodes it to {seen.width} x {seen.height} pixels, {by} {width} x {height}"
