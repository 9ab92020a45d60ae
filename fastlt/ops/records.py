"""Many records at once, as fastlt.data.records asks for them: the compiled form of what it does one by one."""

from __future__ import annotations

import os

import numpy as np
import torch

from fastlt.ops.library import NAMESPACE, namespace


def available() -> bool:
    """Whether the compiled library is there. Loads it."""
    return namespace() is not None


def read_parts(to: np.ndarray, files: np.ndarray, start: np.ndarray, size: np.ndarray) -> int:
    """Parts of open files (int64 [B] each: handle, first byte, bytes) side by side into `to`, which they fill.

    Returns the bytes that came: fewer where a file is shorter. Raises OSError, and RuntimeError unless they fill it.
    """
    numbers = (torch.from_numpy(np.ascontiguousarray(array)) for array in (to, files, start, size))
    got = getattr(torch.ops, NAMESPACE).read_parts(*numbers)
    if got < 0:
        raise OSError(-got, os.strerror(-got))
    return got


def crc32_parts(data: np.ndarray, start: np.ndarray, end: np.ndarray, fold: bool = True) -> np.ndarray:
    """int64 [B]: zlib's crc32 of bytes start to end (int64 [B]) of `data` (uint8 [n]).

    With `fold` by the processor's carry-less multiplication, where it has one. Raises RuntimeError outside of `data`.
    """
    numbers = (torch.from_numpy(np.ascontiguousarray(array)) for array in (data, start, end))
    return getattr(torch.ops, NAMESPACE).crc32_parts(*numbers, fold).numpy()
