"""Augmentation parameters: a pure function of (key, position), drawn in numpy and fed to a graph that draws nothing."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np

from fastlt import hashing
from fastlt.config import PipelineConfig


def load(name: str) -> ModuleType:
    """The module of `fastlt.pipelines` with that recipe: its `parameters` and its `graph`."""
    return importlib.import_module(f"fastlt.pipelines.{name}")


class Draws:
    """Random numbers for the positions of a batch; each use has a name, so that no two share their draws."""

    def __init__(self, key: int, positions: np.ndarray) -> None:
        self.key, self.positions = key, np.asarray(positions)

    def __len__(self) -> int:
        return len(self.positions)

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """float64 [B] in [low, high)."""
        return low + (high - low) * hashing.uniform(self.key, self.positions, _lane(name))

    def chance(self, name: str, probability: float) -> np.ndarray:
        """bool [B], true with the given probability."""
        return hashing.uniform(self.key, self.positions, _lane(name)) < probability

    def integers(self, name: str, high: int | np.ndarray) -> np.ndarray:
        """int64 [B] in [0, high)."""
        return hashing.integers(self.key, self.positions, high, _lane(name))


def _lane(name: str) -> int:
    return hashing.key(name) >> 1


def whole(shapes: np.ndarray) -> dict[str, np.ndarray]:
    """The window that is the whole picture. `shapes` int32 [B, 2], height and width."""
    return window(np.zeros_like(shapes), shapes)


def window(anchor: np.ndarray, shape: np.ndarray) -> dict[str, np.ndarray]:
    """The part of a picture that is shown: `anchor` (top, left) and `shape` (height, width), int [B, 2] in pixels."""
    return {"anchor": anchor.astype(np.int32), "shape": shape.astype(np.int32)}


def somewhere(draws: Draws, inner: np.ndarray, outer: np.ndarray) -> dict[str, np.ndarray]:
    """A window of size `inner` anywhere inside pictures of size `outer`, all places equally likely."""
    room = outer - inner + 1
    top, left = draws.integers("top", room[:, 0]), draws.integers("left", room[:, 1])
    return window(np.stack([top, left], 1), inner)


def flips(config: PipelineConfig, draws: Draws) -> dict[str, np.ndarray]:
    """Which pictures are mirrored, int32 [B]; `vertical` only where the config has it."""
    found = {"mirror": draws.chance("mirror", config.horizontal_flip).astype(np.int32)}
    if config.vertical_flip:
        found["vertical"] = draws.chance("vertical", config.vertical_flip).astype(np.int32)
    return found


def cutout(config: PipelineConfig, draws: Draws) -> dict[str, np.ndarray]:
    """The erased square, centred anywhere and cut at the border: DeVries and Taylor, "Cutout", 2017."""
    if not config.cutout:
        return {}
    size, half = config.size, config.cutout // 2
    centre = np.stack([draws.integers("cutout top", size), draws.integers("cutout left", size)], 1)
    low, high = np.maximum(centre - half, 0), np.minimum(centre - half + config.cutout, size)
    shown = draws.chance("cutout", config.cutout_probability)[:, None]
    return {
        "cutout_anchor": low.astype(np.float32),
        "cutout_shape": np.where(shown, high - low, 0).astype(np.float32),
    }
