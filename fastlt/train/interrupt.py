"""Ctrl-C in a run: finish the step, write a checkpoint, say how to go on."""

from __future__ import annotations

import contextlib
import signal


class Interrupted(Exception):
    """The run was asked to stop, finished its step and wrote a checkpoint."""


class StopRequest:
    """Turns the first Ctrl-C into a request that the loop answers after its step; a second one ends at once."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> StopRequest:
        self._before = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not in the main thread: the caller handles signals
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *exc) -> None:
        self._restore()

    def _ask(self, number, frame) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
