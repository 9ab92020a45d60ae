"""DALI's decoder in a process of its own: a picture over which it crashes or hangs costs that process and no more."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple

import numpy as np

from fastlt.data.decoding_child import COMPARED, COUNT, PICTURE, READY, SEEN
from fastlt.errors import UserError

START_SECONDS = 300  # DALI is large, and may come over a network
TRY_SECONDS, TRY_SECONDS_A_MEGAPIXEL = 60.0, 1.0  # far more than any picture that DALI decodes takes it


class Seen(NamedTuple):
    """What DALI made of a picture: its size in pixels, and how far it is at most from Pillow's, in levels of 255."""

    height: int
    width: int
    difference: int  # OTHER_SHAPE: the sizes differ


class DecodingProcess:
    """Compares DALI's pictures with Pillow's. It belongs to the thread that made it, and ends with that thread.

    Raises UserError if DALI cannot be loaded.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        pipe = subprocess.PIPE
        # In a session of its own, so that Ctrl-C is left to the owner, which then ends it.
        self._process = subprocess.Popen(
            command(), stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self.end = weakref.finalize(self, _end, self._process)  # also when the owner ends
        with self._time_limit(START_SECONDS):
            said = self._process.stdout.read(len(READY))
            reason = "" if said == READY else self._process.stdout.read().decode(errors="replace")
        if said != READY:
            self.end()
            why = reason or f"its process ended with status {self._process.returncode}"
            raise UserError(f"NVIDIA DALI cannot be loaded to try pictures ({why}); `fastlt doctor` looks into it")

    def compare(self, files: list[bytes], shown: list[np.ndarray]) -> list[Seen] | None:
        """For each of at most BATCH files what DALI sees, beside `shown`, uint8 [H, W, 3]; None if it refuses one.

        Raises ConnectionError if the process dies over it, TimeoutError if it takes too long; it is of no use then.
        """
        megapixels = sum(image.shape[0] * image.shape[1] for image in shown) / 1e6
        with self._time_limit(TRY_SECONDS + TRY_SECONDS_A_MEGAPIXEL * megapixels):
            self._send(files, shown)
            if _read(self._process.stdout, len(COMPARED)) != COMPARED:
                return None
            answer = _read(self._process.stdout, len(files) * SEEN.size)
        return [Seen(*values) for values in SEEN.iter_unpack(answer)]

    def _send(self, files: list[bytes], shown: list[np.ndarray]) -> None:
        to = self._process.stdin
        to.write(COUNT.pack(len(files)))
        for file, image in zip(files, shown, strict=True):
            to.write(PICTURE.pack(len(file), *image.shape[:2]))
        for file, image in zip(files, shown, strict=True):
            to.write(file)
            to.write(np.ascontiguousarray(image))
        to.flush()

    @contextmanager
    def _time_limit(self, seconds: float) -> Iterator[None]:
        """Ends the process when the time is over, and when anything goes wrong within."""
        late = threading.Event()
        timer = threading.Timer(seconds, lambda: (late.set(), self._process.kill()))
        timer.daemon = True
        timer.start()
        try:
            yield
        except BaseException as error:
            self.end()
            if late.is_set() and isinstance(error, ConnectionError):
                raise TimeoutError(f"no answer within {seconds:.0f} seconds") from error
            raise
        finally:
            timer.cancel()


def command() -> list[str]:
    """Starts decoding_child.py of this very fastlt, as this process would import it."""
    return [
        sys.executable,
        "-c",
        f"import sys; sys.path[:] = {sys.path!r}; from fastlt.data.decoding_child import serve; serve()",
    ]


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ConnectionResetError("the process has ended")
    return data


def _end(process: subprocess.Popen) -> None:
    """Leaves neither a process nor a zombie nor an open pipe."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # of what it did not read any more
            pipe.close()
