"""Repeated names among millions, by 8 bytes each."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable

import numpy as np


def digests(names: Iterable[str]) -> np.ndarray:
    """uint64 [N]: equal for equal names, and on every machine; seldom equal for others."""
    blake = hashlib.blake2b
    packed = array("Q")
    for name in names:
        packed.append(int.from_bytes(blake(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little"))
    return np.frombuffer(packed, np.uint64) if packed else np.empty(0, np.uint64)


def first_repeat(digests: np.ndarray, name_of: Callable[[int], str]) -> tuple[int, int] | None:
    """(earlier, later) position of the first name that comes again; None if all differ."""
    order = np.argsort(digests, kind="stable")
    same = digests[order[1:]] == digests[order[:-1]]
    suspects = np.sort(order[np.append(same, False) | np.append(False, same)])
    seen: dict[str, int] = {}
    for position in suspects.tolist():
        earlier = seen.setdefault(name_of(position), position)
        if earlier != position:
            return earlier, position
    return None
