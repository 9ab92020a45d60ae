"""Named random numbers of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastlt import hashing


@dataclass(frozen=True)
class Draws:
    """Random numbers for B positions of a stream; each is a pure function of (key, position, name, lane)."""

    key: int
    positions: np.ndarray  # int64 [B]

    def __len__(self) -> int:
        return len(self.positions)

    def at(self, rows: np.ndarray) -> Draws:
        """The same numbers for some rows of the batch only."""
        return Draws(self.key, self.positions[rows])

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0, lane: int = 0) -> np.ndarray:
        """float64 [B] in [low, high)."""
        return low + (high - low) * hashing.uniform(hashing.key(self.key, name), self.positions, lane)

    def integers(self, name: str, high: int | np.ndarray, lane: int = 0) -> np.ndarray:
        """int64 [B] in [0, high); `high` is a number or an array [B]."""
        return hashing.integers(hashing.key(self.key, name), self.positions, high, lane)

    def chance(self, name: str, probability: float, lane: int = 0) -> np.ndarray:
        """bool [B], true with `probability`."""
        return self.uniform(name, lane=lane) < probability
