"""How fast a run goes, and what share of its time it waits for data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Clock:
    """Seconds and images since the run or the window began."""

    seconds: float = 0.0
    waited: float = 0.0
    images: int = 0

    def add(self, seconds: float, waited: float, images: int) -> None:
        self.seconds += seconds
        self.waited += waited
        self.images += images

    @property
    def rates(self) -> dict[str, float]:
        seconds = max(self.seconds, 1e-9)
        return {
            "images_per_second": round(self.images / seconds, 1),
            "data_wait_fraction": round(self.waited / seconds, 4),
        }
