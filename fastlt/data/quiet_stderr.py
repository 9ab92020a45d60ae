"""Keeps from the terminal what native libraries print of failures that they also raise."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_lock = threading.Lock()
_inside = 0  # threads within `quiet_stderr`
_kept: int | None = None  # file descriptor of the true standard error, while there are any


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Within, nothing that this process writes to standard error is shown. Several threads may be within."""
    global _inside, _kept
    with _lock:
        _inside += 1
        if _inside == 1:
            _kept = _redirect()
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _kept is not None:
                os.dup2(_kept, 2)
                os.close(_kept)


def _redirect() -> int | None:
    """Standard error to nowhere; gives where it went before, None if it is closed anyway."""
    with suppress(Exception):  # closed or replaced by something else: nothing to flush
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:
        return None
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    return kept
