"""Whether DALI's CPU decoder shows what Pillow shows, found by trying it.

Every thread that asks has one small pipeline of its own. A batch that DALI refuses is tried again picture by picture,
so that what is found of a picture does not depend on the others. DALI is imported at the first try.
"""

from __future__ import annotations

import os
import threading
from functools import lru_cache

import numpy as np

from fastlt.data.quiet_stderr import quiet_stderr
from fastlt.errors import UserError

BATCH = 32
LARGEST_DIFFERENCE = 2  # of 255 levels; see `disagreements`

_of_thread = threading.local()


@lru_cache
def available() -> bool:
    """Whether pictures are to be tried: DALI can be imported, and FASTLT_TRY_DALI=1 says so.

    Not of its own accord: DALI 2.4 has ended the process (a segmentation fault) in trying special files.
    """
    if os.environ.get("FASTLT_TRY_DALI") != "1":
        return False
    try:
        import nvidia.dali  # noqa: F401
    except ImportError:
        return False
    return True


def disagreements(files: list[bytes], shown: list[np.ndarray]) -> list[str | None]:
    """For each of at most BATCH files, None, or in words how DALI differs from `shown`, uint8 [H, W, 3] by Pillow.

    They agree when the shapes are equal and no sample differs by more than LARGEST_DIFFERENCE levels. Of 8-bit
    pictures DALI gives exactly Pillow's samples; of 16-bit ones it rounds where Pillow cuts off, one level apart;
    the second leaves room for how other builds of the JPEG decoders round. Another orientation, colour space or
    treatment of alpha is far beyond.
    """
    try:
        pictures = _decode(files)
    except RuntimeError:
        if len(files) == 1:
            return ["DALI does not decode it"]
        return [disagreements([file], [image])[0] for file, image in zip(files, shown, strict=True)]
    return [_difference(np.asarray(pictures.at(i)), image) for i, image in enumerate(shown)]


def _decode(files: list[bytes]):
    """A DALI TensorListCPU of [H, W, 3]. Raises RuntimeError if one of them is refused; the pipeline is lost then."""
    pipeline = _of_thread.__dict__.pop("pipeline", None) or _make_pipeline()
    pipeline.feed_input("files", [np.frombuffer(file, np.uint8) for file in files])
    with quiet_stderr():  # it prints several lines for each refusal
        (pictures,) = pipeline.run()
    _of_thread.pipeline = pipeline
    return pictures


def _make_pipeline():
    try:
        from nvidia.dali import fn, pipeline_def, types
    except ImportError as error:  # `available` was asked on another machine
        raise UserError(
            "a worker cannot import NVIDIA DALI, though the machine that began can; install the same on both"
        ) from error

    @pipeline_def(batch_size=BATCH, num_threads=1, device_id=None, exec_dynamic=True, prefetch_queue_depth=1)
    def decoder():
        return fn.decoders.image(fn.external_source(name="files"), device="cpu", output_type=types.RGB)

    return decoder()


def _difference(seen: np.ndarray, shown: np.ndarray) -> str | None:
    if seen.shape != shown.shape:
        (height, width), (true_height, true_width) = seen.shape[:2], shown.shape[:2]
        return f"DALI decodes it to {width} x {height} pixels, Pillow to {true_width} x {true_height}"
    if np.array_equal(seen, shown):
        return None
    most = int((np.maximum(seen, shown) - np.minimum(seen, shown)).max())
    if most <= LARGEST_DIFFERENCE:
        return None
    return f"DALI decodes it otherwise than Pillow, by up to {most} of 255 levels"
