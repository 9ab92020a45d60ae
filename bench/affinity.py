"""Fewer cores than the machine has, for all contestants alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def bound_to(cores: int) -> Iterator[None]:
    """Threads and processes that begin inside run on so many cores; all of them where the system cannot bind."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(own)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)
