"""Changed copies of a picture, made offline to balance the values of its attributes.

The six operations and their probabilities are those of Flixstock's balancing, which took them from Albumentations
(Buslaev et al., Information 2020); what moves in from beyond the border is the picture mirrored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from PIL import Image

from fastlt.hashing import bits, shuffled, uniform

SHIFT, SCALE, DEGREES = 0.2, 0.2, 10.0
CORNERS = (0.05, 0.1)  # standard deviation of how far a corner moves, of the side
RGB_SHIFT, TONE = 50.0, 0.2
TILE = 512  # pixels; what moves in from beyond the border is made for as many at a time, however large the picture


@dataclass(frozen=True)
class VariedCopy:
    """A copy to be made of an image while it is prepared."""

    image: bytes | Path | np.ndarray
    key: int


def vary(pixels: np.ndarray, key: int) -> np.ndarray:
    """uint8 [H, W, 3] from uint8 [H, W, 3]: each operation with its probability, all of it a function of `key`."""
    for number, (operation, probability) in enumerate(OPERATIONS):
        draws = uniform(key, np.arange(16), lane=number)
        if draws[0] < probability:
            pixels = operation(pixels, draws[1:])
    return pixels


def shift_scale_rotate(pixels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Moved by up to a fifth of each side, scaled by 0.8 to 1.2, turned by up to 10 degrees; mirrored at the border."""
    height, width = pixels.shape[:2]
    right, down, larger, turn = 2 * draws[:4] - 1
    angle, scale = np.deg2rad(DEGREES * turn), 1 + SCALE * larger
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    x, y = width / 2, height / 2
    to = np.array([[cos, sin, x - cos * (x + SHIFT * right * width) - sin * (y + SHIFT * down * height)],
                   [-sin, cos, y + sin * (x + SHIFT * right * width) - cos * (y + SHIFT * down * height)]])  # fmt: skip
    out = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            tile = out[top : top + TILE, left : left + TILE]
            tile[:] = _moved(pixels, to, top, left, *tile.shape[:2])
    return out


def flip(pixels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    return pixels[:, ::-1]


def shuffle_channels(pixels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    return pixels[..., shuffled(int(bits(int(draws[0] * 2**53), 0)), 3)]


def shift_channels(pixels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Up to 50 of 255 added to or taken from each channel."""
    moved = np.arange(256) + np.rint(RGB_SHIFT * (2 * draws[:3, None] - 1))
    tables = np.clip(moved, 0, 255).astype(np.uint8)
    return np.stack([table[pixels[..., c]] for c, table in enumerate(tables)], axis=-1)


def perspective(pixels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The corners of what is shown are moved inwards, each by a normal share of the sides, less than half of them."""
    height, width = pixels.shape[:2]
    spread = CORNERS[0] + (CORNERS[1] - CORNERS[0]) * draws[0]
    inwards = np.minimum(np.abs(_normal(draws[1:9])) * spread, 0.45).reshape(4, 2)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    moved = (corners + np.where(corners == 0, inwards, -inwards)) * (width, height)
    coefficients = _projection(corners * (width, height), moved)
    kind, filter_ = Image.Transform.PERSPECTIVE, Image.Resampling.BILINEAR
    return np.asarray(
        Image.fromarray(np.ascontiguousarray(pixels)).transform((width, height), kind, coefficients, filter_)
    )


def tone_curve(pixels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """A Bezier curve from 0 to 1 whose two inner points lie at normal heights around 1/4 and 3/4."""
    low, high = np.clip(np.array([0.25, 0.75]) + TONE * _normal(draws[:2]), 0, 1)
    t = np.linspace(0, 1, 256)
    curve = 3 * (1 - t) ** 2 * t * low + 3 * (1 - t) * t**2 * high + t**3
    return np.rint(255 * curve).astype(np.uint8)[pixels]


OPERATIONS: list[tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], float]] = [
    (shift_scale_rotate, 0.5), (flip, 0.75), (shuffle_channels, 0.5), (shift_channels, 0.5), (perspective, 0.75),
    (tone_curve, 0.5),
]  # fmt: skip


def _moved(pixels: np.ndarray, to: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3]: one tile of the picture that shows at each point the one to which `to` [2, 3] leads."""
    corners = np.array([[x, y, 1] for x in (left, left + width) for y in (top, top + height)])
    reached = corners @ to.T  # of (x, y)
    (first_x, first_y), (end_x, end_y) = reached.min(0).astype(int) - 2, reached.max(0).astype(int) + 2
    rows, columns = _mirrored(first_y, end_y, pixels.shape[0]), _mirrored(first_x, end_x, pixels.shape[1])
    around = Image.fromarray(pixels[rows[:, None], columns])
    there = to.copy()
    there[:, 2] = to @ (left, top, 1) - (first_x, first_y)
    kind, filter_ = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return np.asarray(around.transform((width, height), kind, there.ravel(), filter_))


def _mirrored(first: int, end: int, size: int) -> np.ndarray:
    """int64: which of `size` rows shows at each place of first..end - 1 when they are mirrored at both ends."""
    place = np.arange(first, end) % (2 * size)
    return np.minimum(place, 2 * size - 1 - place)


def _normal(draws: np.ndarray) -> np.ndarray:
    standard = NormalDist()
    return np.array([standard.inv_cdf(min(max(draw, 1e-9), 1 - 1e-9)) for draw in draws])


def _projection(shown: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The eight coefficients by which Pillow finds the source [4, 2] of each shown point [4, 2]."""
    rows, values = [], []
    for (x, y), (u, v) in zip(shown, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.linalg.solve(np.array(rows, np.float64), np.array(values, np.float64))
