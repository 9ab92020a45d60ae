"""Changes of colour as affine maps of RGB, composed in numpy into one matrix a picture and applied in one operator.

Factors mean what they mean in DALI and torchvision (1 changes nothing), with these formulas, in the order written and
with pixels in 0..255: brightness f x; contrast 128 + f (x - 128), about middle gray, not about the picture's mean as
torchvision does; saturation L + f (x - L), L the luma; hue a rotation of the chroma plane of YIQ. Nothing is clipped in
between, only once at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastlt.augmentation.draws import Draws
from fastlt.config import ColorJitter

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
GRAY = np.tile(LUMA, (3, 1))  # every channel becomes the luma, by equal arithmetic: the channels stay equal
MIDDLE = 128.0


@dataclass(frozen=True)
class ColorMap:
    """x -> matrix x + shift for RGB x; matrix: float64 [B, 3, 3], shift: float64 [B, 3]."""

    matrix: np.ndarray
    shift: np.ndarray

    def then(self, matrix: np.ndarray, shift: np.ndarray | float = 0.0) -> ColorMap:
        """This map followed by x -> matrix x + shift; matrix: [B, 3, 3] or [3, 3]."""
        return ColorMap(matrix @ self.matrix, (matrix @ self.shift[:, :, None])[:, :, 0] + shift)


def identity(count: int) -> ColorMap:
    return ColorMap(np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3)))


def brighten(colors: ColorMap, amount: np.ndarray) -> ColorMap:
    """Adds `amount` [B] to every channel."""
    return colors.then(np.eye(3), amount[:, None])


def scale(colors: ColorMap, factor: np.ndarray, about: float = 0.0) -> ColorMap:
    """about + factor (x - about), factor: [B]: brightness about 0, contrast about middle gray."""
    return colors.then(factor[:, None, None] * np.eye(3), ((1 - factor) * about)[:, None])


def saturate(colors: ColorMap, factor: np.ndarray) -> ColorMap:
    """L + factor (x - L), L the luma; factor: [B]."""
    factor = factor[:, None, None]
    return colors.then(factor * np.eye(3) + (1 - factor) * GRAY)


def rotate_hue(colors: ColorMap, degrees: np.ndarray) -> ColorMap:
    """Turns the chroma (I, Q) of YIQ by `degrees` [B]; the luma stays."""
    angle = np.deg2rad(degrees)
    turn = np.tile(np.eye(3), (len(angle), 1, 1))
    turn[:, 1, 1] = turn[:, 2, 2] = np.cos(angle)
    turn[:, 1, 2], turn[:, 2, 1] = -np.sin(angle), np.sin(angle)
    return colors.then(np.linalg.inv(YIQ) @ turn @ YIQ)


def swap_channels(colors: ColorMap, order: np.ndarray) -> ColorMap:
    """Channel c becomes the old channel order[:, c]; order: int [B, 3], permutations of 0, 1, 2."""
    return colors.then(np.eye(3)[order])


def grayscale(colors: ColorMap, chosen: np.ndarray) -> ColorMap:
    """The luma in all channels where `chosen` (bool [B])."""
    return colors.then(np.where(chosen[:, None, None], GRAY, np.eye(3)))


def jitter(colors: ColorMap, config: ColorJitter, draws: Draws) -> ColorMap:
    """Brightness, contrast, saturation and hue by factors of their own, or none of them (config.probability)."""
    chosen = draws.chance("color jitter", config.probability)

    def factor(name: str, extent: float) -> np.ndarray:
        return np.where(chosen, draws.uniform(name, 1 - extent, 1 + extent), 1.0)

    colors = scale(colors, factor("brightness", config.brightness))
    colors = scale(colors, factor("contrast", config.contrast), about=MIDDLE)
    colors = saturate(colors, factor("saturation", config.saturation))
    return rotate_hue(colors, np.where(chosen, draws.uniform("hue", -config.hue, config.hue), 0.0))
