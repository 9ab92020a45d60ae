"""The program of the process in which DALI decodes pictures that may crash it; decoding_process.py starts it.

Over its standard input come requests, over its standard output go answers, all numbers little-endian. It imports DALI,
says READY, or FAILED and why, and answers until its input ends:

    request: uint32 pictures; for each uint64 bytes of its file, uint32 height, uint32 width; then for each
             the file and uint8 [height, width, 3], what Pillow shows
    answer:  REFUSED, or COMPARED and for each picture int32 height, width and largest difference of DALI's picture,
             the difference OTHER_SHAPE if height or width are others
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

READY, FAILED = b"+", b"-"
REFUSED, COMPARED = b"r", b"c"
OTHER_SHAPE = -1
COUNT, PICTURE, SEEN = struct.Struct("<I"), struct.Struct("<QII"), struct.Struct("<iii")
PR_SET_PDEATHSIG = 1  # of prctl(2)

# Pictures that DALI is given at a time. From 32 on DALI 2.4 reads their headers in several threads and, when one thread
# finds a file that it refuses, does not wait for the others: these use memory that was given back, and crash.
BATCH = 16

Decode = Callable[[list[np.ndarray]], list[np.ndarray]]


def serve(make_decoder: Callable[[], Decode] | None = None) -> None:
    """Answers requests until there are no more. The decoder raises RuntimeError when it refuses one of its files."""
    _be_expendable()
    requests, answers = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        decode = (make_decoder or dali_decoder)()
    except Exception as error:
        _send(answers, FAILED + " ".join(f"{type(error).__name__}: {error}".split()).encode())
        return
    _send(answers, READY)
    while head := requests.read(COUNT.size):
        _send(answers, _answer(decode, *_read_pictures(requests, *COUNT.unpack(head))))


def dali_decoder() -> Decode:
    """DALI's CPU decoder to RGB for up to BATCH files, uint8 [bytes], at a time. Raises ImportError."""
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=BATCH, num_threads=1, device_id=None, exec_dynamic=True, prefetch_queue_depth=1)
    def graph():
        return fn.decoders.image(fn.external_source(name="files"), device="cpu", output_type=types.RGB)

    kept = []  # the pipeline; one that has refused a file is of no more use

    def decode(files: list[np.ndarray]) -> list[np.ndarray]:
        pipeline = kept.pop() if kept else graph()
        pipeline.feed_input("files", files)
        (pictures,) = pipeline.run()
        kept.append(pipeline)
        return [np.asarray(pictures.at(i)) for i in range(len(files))]

    return decode


def _be_expendable() -> None:
    """Ends with the thread that started this process, is the first to go for want of memory, leaves no core dump."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _read_pictures(requests: BinaryIO, count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Files, uint8 [bytes], and what Pillow shows of them, uint8 [H, W, 3]."""
    sizes = [PICTURE.unpack(requests.read(PICTURE.size)) for _ in range(count)]
    files, shown = [], []
    for size, height, width in sizes:
        files.append(np.frombuffer(requests.read(size), np.uint8))
        shown.append(np.frombuffer(requests.read(height * width * 3), np.uint8).reshape(height, width, 3))
    return files, shown


def _answer(decode: Decode, files: list[np.ndarray], shown: list[np.ndarray]) -> bytes:
    try:
        decoded = decode(files)
    except RuntimeError:
        return REFUSED
    seen = zip(decoded, shown, strict=True)
    return COMPARED + b"".join(SEEN.pack(*mine.shape[:2], _largest_difference(mine, theirs)) for mine, theirs in seen)


def _largest_difference(mine: np.ndarray, theirs: np.ndarray) -> int:
    """Of 255 levels."""
    if mine.shape != theirs.shape:
        return OTHER_SHAPE
    return int((np.maximum(mine, theirs) - np.minimum(mine, theirs)).max())


def _send(answers: BinaryIO, answer: bytes) -> None:
    answers.write(answer)
    answers.flush()
