"""How fast a run goes, and what share of its time it waits for data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Wall time of a window of steps and of the whole run.

    A window ends where the host has waited for the device, so that its time is the device's. Validation and
    checkpoints do not count.
    """

    def __init__(self) -> None:
        self.seconds, self.waited, self.images = 0.0, 0.0, 0  # of all finished windows
        self._begin, self._waited, self._images = time.perf_counter(), 0.0, 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for data."""
        begin = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begin

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around what is no training."""
        begin = time.perf_counter()
        yield
        self._begin += time.perf_counter() - begin

    def count(self, images: int) -> None:
        self._images += images

    def lap(self) -> dict[str, float]:
        """Ends a window; its rates."""
        seconds = time.perf_counter() - self._begin
        found = _rates(seconds, self._waited, self._images)
        self.seconds, self.waited = self.seconds + seconds, self.waited + self._waited
        self.images += self._images
        self._begin, self._waited, self._images = time.perf_counter(), 0.0, 0
        return found

    @property
    def rates(self) -> dict[str, float]:
        """Of the whole run, also before it was resumed."""
        return _rates(self.seconds, self.waited, self.images)

    def state_dict(self) -> dict:
        return {"seconds": self.seconds, "waited": self.waited, "images": self.images}

    def load_state_dict(self, state: dict) -> None:
        self.seconds, self.waited, self.images = state["seconds"], state["waited"], state["images"]
        self._begin = time.perf_counter()


def _rates(seconds: float, waited: float, images: int) -> dict[str, float]:
    seconds = max(seconds, 1e-9)
    return {"images_per_second": round(images / seconds, 1), "data_wait_fraction": round(waited / seconds, 4)}
