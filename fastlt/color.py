"""Colour changes as one affine map of RGB for each picture: x -> A x + b, pixels in 0..255.

Brightness, contrast, saturation, hue, grayscale and swapped channels are all affine, so that any sequence of them is
one 3 x 4 matrix and costs one operator. Saturation and grayscale use the luma of ITU-R BT.601, as torchvision does;
hue turns the chroma plane of YIQ, as DALI does, and contrast pivots on a fixed grey.
"""

from __future__ import annotations

import numpy as np

from fastlt.augment import Draws
from fastlt.config import ColorJitter

LUMA = np.array([0.299, 0.587, 0.114])
MIDDLE = 128.0  # the grey that contrast leaves alone
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_ORDERS = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])


class ColorMap:
    """float64 [B, 3, 4]: the maps of a batch, built step by step; every factor is [B]."""

    def __init__(self, size: int) -> None:
        self.matrix = np.tile(np.eye(3, 4), (size, 1, 1))

    def _then(self, linear: np.ndarray, shift: np.ndarray | float = 0.0) -> None:
        """Applies `linear` [B, 3, 3], then adds `shift` [B]."""
        self.matrix = linear @ self.matrix
        self.matrix[:, :, 3] += np.reshape(shift, (-1, 1))

    def brighten(self, factor: np.ndarray) -> None:
        self._then(factor[:, None, None] * np.eye(3))

    def shift(self, amount: np.ndarray) -> None:
        self._then(np.eye(3)[None], amount)

    def contrast(self, factor: np.ndarray, pivot: float = MIDDLE) -> None:
        """pivot + factor (x - pivot)."""
        self._then(factor[:, None, None] * np.eye(3), (1 - factor) * pivot)

    def saturate(self, factor: np.ndarray) -> None:
        """luma + factor (x - luma)."""
        factor = factor[:, None, None]
        self._then(factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1)))

    def turn_hue(self, degrees: np.ndarray) -> None:
        """Turns the chroma plane."""
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.zeros((len(degrees), 3, 3))
        turn[:, 0, 0] = 1
        turn[:, 1, 1], turn[:, 1, 2], turn[:, 2, 1], turn[:, 2, 2] = cos, -sin, sin, cos
        self._then(np.linalg.inv(_TO_YIQ) @ turn @ _TO_YIQ)

    def swap_channels(self, order: np.ndarray) -> None:
        """`order` int [B]: one of the six orders of the channels, 0 leaves them alone."""
        self._then(np.eye(3)[_ORDERS[order]])

    def parameters(self) -> dict[str, np.ndarray]:
        """What the graph is fed: float32 [B, 3, 3] and [B, 3]."""
        return {
            "color_matrix": self.matrix[:, :, :3].astype(np.float32),
            "color_shift": self.matrix[:, :, 3].astype(np.float32),
        }


def jitter(colors: ColorMap, config: ColorJitter, draws: Draws) -> None:
    """Brightness, contrast, saturation, then hue, each drawn around "no change"."""
    changed = draws.chance("jitter", config.probability)

    def factor(name: str, width: float) -> np.ndarray:
        return np.where(changed, draws.uniform(f"jitter {name}", 1 - width, 1 + width), 1.0)

    colors.brighten(factor("brightness", config.brightness))
    colors.contrast(factor("contrast", config.contrast))
    colors.saturate(factor("saturation", config.saturation))
    colors.turn_hue(np.where(changed, draws.uniform("jitter hue", -config.hue, config.hue), 0.0))


def grayscale(colors: ColorMap, probability: float, draws: Draws) -> None:
    """Grey with the given probability; the three channels are then equal to the last bit."""
    colors.saturate(1.0 - draws.chance("grayscale", probability))


def distort(colors: ColorMap, draws: Draws) -> None:
    """The photometric distortion of SSD (Liu et al., ECCV 2016): each part with probability 1/2.

    Brightness +-32, contrast and saturation x 0.5 to 1.5, hue +-18 degrees, channels in any order; contrast comes
    before saturation and hue, or after them.
    """

    def maybe(name: str, low: float, high: float, none: float) -> np.ndarray:
        return np.where(draws.chance(f"has {name}", 0.5), draws.uniform(name, low, high), none)

    contrast = maybe("contrast", 0.5, 1.5, 1.0)
    first = draws.chance("contrast first", 0.5)
    colors.shift(maybe("brightness", -32, 32, 0.0))
    colors.contrast(np.where(first, contrast, 1.0), pivot=0.0)
    colors.saturate(maybe("saturation", 0.5, 1.5, 1.0))
    colors.turn_hue(maybe("hue", -18, 18, 0.0))
    colors.contrast(np.where(first, 1.0, contrast), pivot=0.0)
    colors.swap_channels(np.where(draws.chance("has order", 0.5), draws.integers("order", 6), 0))
